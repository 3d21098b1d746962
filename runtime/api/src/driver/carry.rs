//! Messages kept for a later call: the last data of `hold` inputs, and carried rows of frames that were not processed.

use std::sync::Arc;

use arrow_array::StructArray;

use crate::{Body, Header, Message, Payload, PortType, Result, WiredInput, table};

/// At most one message per stream.
type StreamMessages = Vec<Message>;

/// Store of messages for later calls, by input.
pub struct Carry {
    /// Last data of each `hold` input.
    held: Vec<StreamMessages>,
    /// Rows of earlier frames, which are prepended to those of the next call.
    carried: Vec<StreamMessages>,
}

fn position(messages: &StreamMessages, header: &Header) -> Option<usize> {
    messages.iter().position(|earlier| earlier.header.stream == header.stream)
}

impl Carry {
    pub fn new(inputs: usize) -> Self {
        Self { held: vec![vec![]; inputs], carried: vec![vec![]; inputs] }
    }

    /// Prepends the carried rows to those of this frame.
    ///
    /// # Errors
    /// When the two are of different tables.
    pub fn prepend_carried(
        &mut self,
        header: &Header,
        inputs: &[WiredInput],
        aligned: &mut [Option<Message>],
    ) -> Result<()> {
        for ((input, carried), aligned) in inputs.iter().zip(&mut self.carried).zip(aligned) {
            // A skipped required input skips the frame; its rows stay for the next one.
            if input.required && matches!(aligned, Some(Message { body: Body::Skipped(_), .. })) {
                continue;
            }
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

    /// Stores the data of a `hold` input, or fills in the stored data if the frame has none.
    pub fn apply_hold(&mut self, port: usize, header: &Header, aligned: &mut Option<Message>) {
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

    /// Stores the rows of carried tables of a frame that was not processed.
    pub fn store_carried(&mut self, inputs: &[WiredInput], aligned: &[Option<Message>]) {
        for ((input, aligned), carried) in inputs.iter().zip(aligned).zip(&mut self.carried) {
            let is_carried =
                matches!(input.ty, PortType::Table(table) if table.is_carried) && input.alignment.is_aligned();
            if is_carried
                && let Some(message) = aligned.as_ref().filter(|message| matches!(message.body, Body::Data(_)))
            {
                carried.push(message.clone());
            }
        }
    }

    /// Stores the rows of all aligned inputs for the end of the stream.
    pub fn store_all(&mut self, inputs: &[WiredInput], aligned: &[Option<Message>]) {
        for ((input, aligned), carried) in inputs.iter().zip(aligned).zip(&mut self.carried) {
            if let Some(message) = aligned.as_ref().filter(|message| matches!(message.body, Body::Data(_)))
                && input.alignment.is_aligned()
            {
                carried.push(message.clone());
            }
        }
    }

    /// Discards all messages of a stream.
    pub fn end_stream(&mut self, header: &Header) {
        for messages in self.held.iter_mut().chain(&mut self.carried) {
            messages.retain(|message| message.header.stream != header.stream);
        }
    }
}

fn rows(message: &Option<Message>) -> Option<Arc<StructArray>> {
    match &message.as_ref()?.body {
        Body::Data(Payload::Table(rows)) => Some(rows.clone()),
        _ => None,
    }
}
