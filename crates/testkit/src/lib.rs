//! scripted peers, mock servers, real servers' runners
