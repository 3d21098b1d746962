//! Tables that are of no particular sport: the sound of a stream, and the counts of the example operator.
//!
//! No table holds a wall-clock time or a measured duration: a run in `complete` mode is reproducible byte for byte.

use crate::table;

table! {
    /// Block of consecutive samples of the stream's own sound. A source with sound sends at least one row per frame, possibly
    /// without samples; one without sound sends none.
    pub struct Audio in "audio", carried {
        /// Media time of the first sample, ns, on the clock of the frames' `pts`.
        #[column(unit = "ns")]
        pub start: i64,
        /// Sample rate, samples per second of each channel.
        #[column(unit = "Hz")]
        pub rate: u32,
        /// Number of channels, 1 or 2.
        pub channels: u16,
        /// Interleaved samples, -1..1, left before right.
        pub samples: Vec<f32>,
    }
}

table! {
    /// Frame count and checksum, for the example operator and for tests of the runtime.
    pub struct Count in "counts" {
        /// Number of frames of this stream so far.
        #[column(unit = "frames")]
        pub frames: u64,
        /// Sum of the sampled bytes of the frame, which distinguishes frames.
        pub checksum: u64,
    }
}
