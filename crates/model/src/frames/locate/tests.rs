//! Frame location: tables, arithmetic, and what happens when they are wrong.
