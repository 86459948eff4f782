//! bytes <-> frames; checked reader, limits, malformed errors
