//! The outputs of one operator: bodies of the frame at hand in, checked and numbered messages out.

use std::sync::Arc;

use arrow_array::{Array, StructArray};

use super::Outlet;
use crate::{Body, Error, Header, Message, OutputPort, Payload, PortType, Reason, Result, StreamName, table};

/// See the [module](self).
pub struct Outbox {
    node: String,
    ports: Vec<OutputPort>,
    /// The bodies of the frame at hand.
    pub slots: Vec<Option<Body>>,
    /// Messages sent on each output.
    sent: Vec<u64>,
    /// Rows of closing messages that leave with the end of their stream: stream, output, rows.
    closing: Vec<(StreamName, usize, Arc<StructArray>)>,
}

impl Outbox {
    pub fn new(node: &str, ports: Vec<OutputPort>) -> Self {
        let outputs = ports.len();
        Self { node: node.into(), ports, slots: vec![None; outputs], sent: vec![0; outputs], closing: vec![] }
    }

    pub fn ports_and_slots(&mut self) -> (&[OutputPort], &mut [Option<Body>]) {
        (&self.ports, &mut self.slots)
    }

    /// Gives every output the same reason.
    pub fn skip_all(&mut self, reason: &Reason) {
        self.slots.fill(Some(Body::Skipped(reason.clone())));
    }

    /// Gives each output that was not set an empty table, or, where it sends frames, the reason `none`.
    #[inline]
    pub fn fill(&mut self) {
        for (slot, port) in self.slots.iter_mut().zip(&self.ports) {
            slot.get_or_insert_with(|| match &port.ty {
                PortType::Table(table) => Body::Data(Payload::Table(Arc::new(table.empty()))),
                PortType::Frame | PortType::Any => Body::Skipped(Reason::Other("none".into())),
            });
        }
    }

    /// Sends the bodies of a frame.
    ///
    /// # Errors
    /// When one is not of its output's type.
    #[inline]
    pub fn send(&mut self, header: &Header, outlet: &mut dyn Outlet) -> Result<()> {
        for i in 0..self.slots.len() {
            if let Some(body) = self.slots[i].take() {
                self.check(i, &body)?;
                self.put(i, header, body, outlet);
            }
        }
        Ok(())
    }

    /// Keeps the rows of the bodies at hand for the closing messages of the stream; reasons are left out.
    ///
    /// # Errors
    /// When one is not rows of its output's table.
    pub fn keep(&mut self, header: &Header) -> Result<()> {
        for i in 0..self.slots.len() {
            let Some(body) = self.slots[i].take() else { continue };
            self.check(i, &body)?;
            match body {
                Body::Data(Payload::Table(rows)) => self.closing.push((header.stream.clone(), i, rows)),
                Body::Data(Payload::Frame(_)) => {
                    let text = "a closing message holds rows; a frame belongs to a frame of the stream";
                    return Err(self.place(i, Error::other(text)));
                }
                Body::Skipped(_) | Body::End { .. } => {}
            }
        }
        Ok(())
    }

    /// Sends what was kept of a stream, one closing message for each output that has rows, then its end.
    ///
    /// # Errors
    /// When kept rows cannot be put together.
    pub fn end(&mut self, header: &Header, frames: u64, outlet: &mut dyn Outlet) -> Result<()> {
        let mut all = std::mem::take(&mut self.closing);
        let ours: Vec<_> = all.extract_if(.., |(stream, ..)| *stream == header.stream).collect();
        self.closing = all;
        for i in 0..self.ports.len() {
            let rows: Vec<Arc<StructArray>> =
                ours.iter().filter(|(_, output, _)| *output == i).map(|(.., rows)| rows.clone()).collect();
            if !rows.is_empty() {
                let rows = table::concat(&rows).map_err(|error| self.place(i, error))?;
                self.put(i, header, Body::Data(Payload::Table(rows)), outlet);
            }
            self.put(i, header, Body::End { frames }, outlet);
        }
        Ok(())
    }

    #[inline]
    fn put(&mut self, output: usize, header: &Header, body: Body, outlet: &mut dyn Outlet) {
        let n = self.sent[output];
        self.sent[output] += 1;
        outlet.send(output, Message { header: header.clone(), n, body });
    }

    #[inline]
    fn check(&self, output: usize, body: &Body) -> Result<()> {
        let Body::Data(payload) = body else { return Ok(()) };
        check_payload(&self.ports[output].ty, payload).map_err(|error| self.place(output, error))
    }

    fn place(&self, output: usize, error: Error) -> Error {
        error.at(format!("node `{}`, output `{}`", self.node, self.ports[output].name))
    }
}

/// Checks a payload against the type of its port.
///
/// # Errors
/// Names the difference.
#[inline]
pub fn check_payload(ty: &PortType, payload: &Payload) -> Result<()> {
    match (ty, payload) {
        (PortType::Any, _) | (PortType::Frame, Payload::Frame(_)) => Ok(()),
        (PortType::Table(table), Payload::Table(rows)) => table.check(rows.data_type()),
        (PortType::Frame, Payload::Table(_)) => Err(Error::config("frames are expected here, rows came")),
        (PortType::Table(table), Payload::Frame(_)) => {
            Err(Error::config(format!("rows of table `{}` are expected here, frames came", table.name)))
        }
    }
}
