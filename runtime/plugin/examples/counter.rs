//! The operator `counter` as a library.

sideline_plugin::sideline_plugin!(sideline_counter::Counter);
