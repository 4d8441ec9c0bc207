//! Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 section 6.1.2) to UTF-8.
