//! A seeded simulation of the mesh: production cores, one clock, faults.
