//! sockets, acceptor, workers
