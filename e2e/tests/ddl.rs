//! Empty until its tests are written.
