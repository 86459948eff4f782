//! The program that ships, between real or scripted peers. The tests are in `tests/suite`.
