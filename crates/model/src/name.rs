//! Person names (PS3.5 section 6.2.1): component groups, and the folded form that search uses.
