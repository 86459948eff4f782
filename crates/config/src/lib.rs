//! topology.yaml and config.yaml as plain structs, every error collected
