//! the client loop and each protocol's quirks at connect
