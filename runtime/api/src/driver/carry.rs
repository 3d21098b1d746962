//! Rows that wait for a later call: last values of inputs that hold, and rows that outlive a frame that was not handled.

use std::sync::Arc;

use arrow_array::StructArray;

use crate::{Body, Header, Message, Payload, PortType, Result, WiredInput, table};

/// One message of each stream.
type Kept = Vec<Message>;

/// See the [module](self).
pub struct Carry {
    /// For each input that holds: the last data.
    held: Vec<Kept>,
    /// For each input: rows of earlier frames, to be handed in with the next call.
    carried: Vec<Kept>,
}

fn position(kept: &Kept, header: &Header) -> Option<usize> {
    kept.iter().position(|earlier| earlier.header.stream == header.stream)
}

impl Carry {
    pub fn new(inputs: usize) -> Self {
        Self { held: vec![vec![]; inputs], carried: vec![vec![]; inputs] }
    }

    /// Puts carried rows before those of this frame.
    ///
    /// # Errors
    /// When they are of two tables.
    pub fn hand_in(&mut self, header: &Header, aligned: &mut [Option<Message>]) -> Result<()> {
        for (carried, aligned) in self.carried.iter_mut().zip(aligned) {
            let Some(at) = position(carried, header) else { continue };
            let earlier = carried.swap_remove(at);
            match (rows(&Some(earlier.clone())), aligned.as_mut()) {
                (Some(before), Some(Message { body: Body::Data(Payload::Table(now)), .. })) => {
                    *now = table::concat(&[before, now.clone()])?;
                }
                _ => *aligned = Some(Message { header: header.clone(), ..earlier }),
            }
        }
        Ok(())
    }

    /// Notes the data of an input that holds, or hands in what was noted.
    pub fn hold(&mut self, port: usize, header: &Header, aligned: &mut Option<Message>) {
        let held = position(&self.held[port], header);
        match (&aligned, held) {
            (Some(message @ Message { body: Body::Data(_), .. }), Some(at)) => {
                self.held[port][at].clone_from(message);
            }
            (Some(message @ Message { body: Body::Data(_), .. }), None) => self.held[port].push(message.clone()),
            (_, Some(at)) => *aligned = Some(self.held[port][at].clone()),
            (_, None) => {}
        }
    }

    /// Keeps the rows that outlive their frame, which was not handled.
    pub fn keep_carried(&mut self, inputs: &[WiredInput], aligned: &[Option<Message>]) {
        for ((input, aligned), carried) in inputs.iter().zip(aligned).zip(&mut self.carried) {
            let outlives = matches!(input.ty, PortType::Table(table) if table.carried) && input.alignment.is_ordinary();
            if outlives && let Some(message) = aligned.as_ref().filter(|message| matches!(message.body, Body::Data(_)))
            {
                carried.push(message.clone());
            }
        }
    }

    /// Keeps the rows of every ordinary input for the end of the stream.
    pub fn keep_all(&mut self, inputs: &[WiredInput], aligned: &[Option<Message>]) {
        for ((input, aligned), carried) in inputs.iter().zip(aligned).zip(&mut self.carried) {
            if let Some(message) = aligned.as_ref().filter(|message| matches!(message.body, Body::Data(_)))
                && input.alignment.is_ordinary()
            {
                carried.push(message.clone());
            }
        }
    }

    /// Drops everything of a stream.
    pub fn end(&mut self, header: &Header) {
        for kept in self.held.iter_mut().chain(&mut self.carried) {
            kept.retain(|message| message.header.stream != header.stream);
        }
    }
}

fn rows(message: &Option<Message>) -> Option<Arc<StructArray>> {
    match &message.as_ref()?.body {
        Body::Data(Payload::Table(rows)) => Some(rows.clone()),
        _ => None,
    }
}
