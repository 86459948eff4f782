//! every metric, log field and span once
