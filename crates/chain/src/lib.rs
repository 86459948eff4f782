//! message, batch, ledger, the transform and sink contracts
