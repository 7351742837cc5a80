//! An SQS on SQLite.
