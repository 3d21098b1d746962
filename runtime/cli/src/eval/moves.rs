//! `sideline eval moves`: recordings of known moves, as the product sees them.

mod export;

use sideline_api::{
    Error, Result, Values,
    driver::read_config,
    tables::{Interaction, Motion},
};
use sideline_eval::moves::{Fault, Library, RATE, Recording, read_all};
use sideline_interaction::{InteractionConfig, Pairs};
use sideline_motion::{MotionConfig, Person};

use crate::args::EvalMoves;

/// Reads what is below the folder and does what is asked for.
pub fn run(options: &EvalMoves) -> Result<u8> {
    let library = match &options.dir {
        Some(dir) => read_all(dir).map_err(|error| Error::input(error.to_string()))?,
        None if options.generate == 0 => {
            return Err(Error::config("nothing to read: name a folder of recordings, or `--generate N` for bouts"));
        }
        None => Library::default(),
    };
    tell_faults(&library);
    export::run(&library, options.generate, &options.export, options.json)?;
    Ok(0)
}

/// Says on standard error what could not be read: each problem once, with the first place where it is.
fn tell_faults(library: &Library) {
    let mut problems: Vec<(&Fault, usize)> = vec![];
    for fault in &library.faults {
        match problems.iter_mut().find(|(first, _)| first.problem == fault.problem) {
            Some((_, files)) => *files += 1,
            None => problems.push((fault, 1)),
        }
    }
    for (fault, files) in problems {
        let others = if files > 1 { format!(" (and in {} more files)", files - 1) } else { String::new() };
        eprintln!("{fault}{others}");
    }
}

/// What the operators `motion` and `interaction` say of a recording: for each frame a row of motion for each person, in
/// their order, and one of interaction where there are two.
struct Seen {
    motion: Vec<Vec<Motion>>,
    interaction: Vec<Vec<Interaction>>,
}

impl Seen {
    /// By the product's own operators, with their own defaults.
    fn of(recording: &Recording) -> Result<Self> {
        let motion: MotionConfig = read_config(&Values::new(), "motion")?;
        let interaction: InteractionConfig = read_config(&Values::new(), "interaction")?;
        let mut people = vec![Person::default(); recording.people.len()];
        let mut pairs = Pairs::default();
        let mut seen = Self { motion: vec![], interaction: vec![] };
        for (frame, poses) in recording.frames.iter().enumerate() {
            let now = pts(frame);
            seen.motion
                .push(poses.iter().zip(&mut people).map(|(pose, person)| person.see(pose, now, &motion)).collect());
            seen.interaction.push(pairs.see(poses, now, &interaction));
        }
        Ok(seen)
    }
}

/// Media time of a frame, ns.
fn pts(frame: usize) -> i64 {
    (frame as f64 * 1e9 / RATE).round() as i64
}
