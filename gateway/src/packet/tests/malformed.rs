//! One row for each thing that can be wrong.
