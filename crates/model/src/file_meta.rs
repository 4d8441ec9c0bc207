//! File Meta Information (PS3.10 section 7.1): read leniently, written strictly.
