//! Outputs of one operator: takes the bodies of the current frame and sends checked and numbered messages.

use std::sync::Arc;

use arrow_array::{Array, StructArray};

use super::Outlet;
use crate::{Body, Error, Header, Message, OutputPort, Payload, PortType, Reason, Result, StreamName, table};

/// Outbox of one operator.
pub struct Outbox {
    node: String,
    ports: Vec<OutputPort>,
    /// Bodies of the current frame, by output.
    pub slots: Vec<Option<Body>>,
    /// Number of messages sent on each output.
    sent: Vec<u64>,
    /// Rows of closing messages, which are sent at the end of their stream.
    closing: Vec<PendingRows>,
}

/// Rows of the closing message of one output.
struct PendingRows {
    stream: StreamName,
    output: usize,
    rows: Arc<StructArray>,
}

impl Outbox {
    pub fn new(node: &str, ports: Vec<OutputPort>) -> Self {
        let outputs = ports.len();
        Self { node: node.into(), ports, slots: vec![None; outputs], sent: vec![0; outputs], closing: vec![] }
    }

    pub fn ports_and_slots(&mut self) -> (&[OutputPort], &mut [Option<Body>]) {
        (&self.ports, &mut self.slots)
    }

    /// Marks every output as skipped for a reason.
    pub fn skip_all(&mut self, reason: &Reason) {
        self.slots.fill(Some(Body::Skipped(reason.clone())));
    }

    /// Sets each output that was not set to an empty table; an output of frames is marked as skipped with the reason `none`.
    #[inline]
    pub fn fill_unset(&mut self) {
        for (slot, port) in self.slots.iter_mut().zip(&self.ports) {
            slot.get_or_insert_with(|| match &port.ty {
                PortType::Table(table) => Body::Data(Payload::Table(Arc::new(table.empty()))),
                PortType::Frame | PortType::Any => Body::Skipped(Reason::Other("none".into())),
            });
        }
    }

    /// Sends the bodies of the current frame.
    ///
    /// # Errors
    /// When a body does not have the type of its output.
    #[inline]
    pub fn send(&mut self, header: &Header, outlet: &mut dyn Outlet) -> Result<()> {
        for i in 0..self.slots.len() {
            if let Some(body) = self.slots[i].take() {
                self.check(i, &body)?;
                self.send_body(i, header, body, outlet);
            }
        }
        Ok(())
    }

    /// Stores the rows of the current bodies for the closing messages of the stream; skips are discarded.
    ///
    /// # Errors
    /// When a body does not have the type of its output, or is a frame.
    pub fn store_closing(&mut self, header: &Header) -> Result<()> {
        for i in 0..self.slots.len() {
            let Some(body) = self.slots[i].take() else { continue };
            self.check(i, &body)?;
            match body {
                Body::Data(Payload::Table(rows)) => {
                    self.closing.push(PendingRows { stream: header.stream.clone(), output: i, rows });
                }
                Body::Data(Payload::Frame(_)) => {
                    let text = "a closing message has rows and no frame: no frame of the stream is left";
                    return Err(self.place(i, Error::other(text)));
                }
                Body::Skipped(_) | Body::End { .. } => {}
            }
        }
        Ok(())
    }

    /// Sends one closing message on each output that has stored rows of the stream, then the end of the stream on all.
    ///
    /// # Errors
    /// When stored rows cannot be concatenated.
    pub fn end_stream(&mut self, header: &Header, frames: u64, outlet: &mut dyn Outlet) -> Result<()> {
        let mut all = std::mem::take(&mut self.closing);
        let of_stream: Vec<_> = all.extract_if(.., |pending| pending.stream == header.stream).collect();
        self.closing = all;
        for i in 0..self.ports.len() {
            let rows: Vec<Arc<StructArray>> =
                of_stream.iter().filter(|pending| pending.output == i).map(|pending| pending.rows.clone()).collect();
            if !rows.is_empty() {
                let rows = table::concat(&rows).map_err(|error| self.place(i, error))?;
                self.send_body(i, header, Body::Data(Payload::Table(rows)), outlet);
            }
            self.send_body(i, header, Body::End { frames }, outlet);
        }
        Ok(())
    }

    #[inline]
    fn send_body(&mut self, output: usize, header: &Header, body: Body, outlet: &mut dyn Outlet) {
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
/// When the two differ; the error names the difference.
#[inline]
pub fn check_payload(ty: &PortType, payload: &Payload) -> Result<()> {
    match (ty, payload) {
        (PortType::Any, _) | (PortType::Frame, Payload::Frame(_)) => Ok(()),
        (PortType::Table(table), Payload::Table(rows)) => table.check(rows.data_type()),
        (PortType::Frame, Payload::Table(_)) => Err(Error::config("frames are expected here, found rows")),
        (PortType::Table(table), Payload::Frame(_)) => {
            Err(Error::config(format!("rows of table `{}` are expected here, found frames", table.name)))
        }
    }
}
