//! The operator `rehearse`, which fails on request, as a library.

sideline_plugin::sideline_plugin!(sideline_rehearse::Rehearse);
