//! Who may do what, and what nobody may see.

mod agents;
mod operator;
mod secrets;
