//! the ends of a chain that talk to servers
