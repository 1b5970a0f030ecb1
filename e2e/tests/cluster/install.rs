//! From `helm install` to a replica, by the way that the README shows; upgrades, and what stays behind.

mod example;
mod release;
