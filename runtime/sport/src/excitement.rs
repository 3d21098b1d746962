//! Excitement level of a commentary sentence: a column of the table `commentary` that controls the manner of the voice.

use sideline_api::column_enum;

column_enum! {
    /// Level of excitement.
    pub enum Excitement {
        /// Calm phase.
        Low = "low",
        /// Some action.
        Medium = "medium",
        /// Much action, or one hard strike.
        High = "high",
        /// Decisive action.
        Knockout = "knockout",
    }
}
