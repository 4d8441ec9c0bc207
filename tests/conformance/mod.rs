//! What servers get wrong and we do not: one test per line of the list of known mistakes that this
//! project keeps, named by its number there.

mod charset;
mod clients;
mod dimse;
mod hostile;
mod http;
mod memory;
mod pixels;
mod qido;
mod stow;
