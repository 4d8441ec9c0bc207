//! The SQL index: Postgres and SQLite behind one [`Catalog`].

pub mod types;
