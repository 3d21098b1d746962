//! `preview`: shows the frames of a running flow in the browser, without delaying them.
//!
//! `sideline run FLOW --preview` adds it to a flow. A flow can also declare it, for runs under dora too:
//!
//! ```yaml
//!   - id: preview
//!     path: sideline
//!     args: run preview
//!     inputs:
//!       frames: {source: render/overlay, queue_policy: drop_oldest, queue_size: 1}
//!     outputs: [done]      # read by the source as `done_preview`, if the flow runs in `complete` mode
//! ```
//!
//! `process` only publishes the newest frame. A thread of the server encodes it as a JPEG, once for all viewers, and
//! only while there is a viewer.
//!
//! | address | content |
//! |---|---|
//! | `/` | a page with every stream |
//! | `/stream/NAME` | MJPEG: each part is the newest frame |
//! | `/frame/NAME.jpg` | the newest frame |
//! | `/status` | names, frames, rates and latencies as JSON |
#![forbid(unsafe_code)]

mod server;
mod streams;

use std::{io::Write, net::TcpListener, sync::Arc};

use sideline_api::{
    Body, Config, Context, Error, Inputs, Message, Mode, Operator, Outputs, Payload, PortType, Resources, Result, Spec,
    WiredInput,
};

use crate::{
    server::{RunInfo, Server},
    streams::{Streams, ViewSettings},
};

/// Shows the frames of a running flow in the browser, without delaying them.
#[derive(Clone, Debug, Config)]
pub struct PreviewConfig {
    /// TCP port of the web page on 127.0.0.1; 0 takes any free port. The address is printed at the start.
    #[config(default = 8090)]
    pub port: u16,
    /// Maximum frame rate for each viewer, per second. Raising it makes the video smoother and uses more CPU while
    /// there are viewers.
    #[config(default = 15.0, live, range(0.1, 240.0))]
    pub fps: f64,
    /// JPEG quality. Raising it improves the pictures and makes them larger.
    #[config(default = 75, live, range(1, 100))]
    pub quality: u32,
    /// Maximum width of the pictures, in pixels; wider frames are scaled down. Lowering it saves CPU and bandwidth.
    #[config(default = 1280, live, range(16, 16_384))]
    pub width: u32,
    /// Heading of the page; empty for the name of the run.
    #[config(default = String::new())]
    pub title: String,
}

impl PreviewConfig {
    fn view_settings(&self) -> ViewSettings {
        ViewSettings { max_fps: self.fps, quality: self.quality, max_width: self.width }
    }
}

/// The operator `preview`; see the documentation of the [crate].
pub struct Preview {
    streams: Arc<Streams>,
    server: Server,
    /// True if the operator has several inputs. The names of its streams then begin with that of the input.
    has_several_inputs: bool,
}

impl Operator for Preview {
    type Config = PreviewConfig;
    type State = ();

    fn spec() -> Spec {
        Spec::operator("preview").any_inputs(PortType::Frame)
    }

    fn new(config: PreviewConfig, resources: &Resources) -> Result<Self> {
        let port = config.port;
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::AddrInUse => Error::config(format!(
                "key `port`: 127.0.0.1:{port} is taken by another program, perhaps by another run; set another port, or 0 \
                 for any free one (`--preview=0`)"
            )),
            std::io::ErrorKind::PermissionDenied => Error::config(format!(
                "key `port`: this user may not open 127.0.0.1:{port}; set a port from 1024 on, or 0 for any free one"
            )),
            _ => Error::output(format!("key `port`: 127.0.0.1:{port} cannot be opened: {cause}")),
        })?;
        let streams = Arc::new(Streams::new(config.view_settings()));
        let title = if config.title.is_empty() { resources.run.clone() } else { config.title };
        let is_live = resources.mode == Mode::Live;
        let server = Server::start(listener, streams.clone(), RunInfo { title, run: resources.run.clone(), is_live })?;
        // Printed directly, so that the user sees it at any log level; under dora it goes to the node's log.
        // The preview also works if standard error is closed.
        let _ = writeln!(std::io::stderr(), "{}: http://{}/", resources.node, server.address());
        Ok(Self { streams, server, has_several_inputs: resources.inputs.len() > 1 })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        for (port, message) in input.all() {
            self.publish(cx, port, message);
        }
        for (port, messages) in input.all_side() {
            self.publish(cx, port, messages.last());
        }
        Ok(())
    }

    fn reconfigure(&mut self, config: &PreviewConfig) -> Result<()> {
        self.streams.set_settings(config.view_settings());
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, _: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        self.streams.mark_ended(&cx.header.stream);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.server.stop();
        Ok(())
    }
}

impl Preview {
    fn publish(&self, cx: &Context, port: &WiredInput, message: Option<&Message>) {
        let Some(Message { header, body: Body::Data(Payload::Frame(frame)), .. }) = message else { return };
        let name = if self.has_several_inputs && *port.name != *header.stream {
            format!("{}.{}", port.name, header.stream)
        } else {
            header.stream.to_string()
        };
        self.streams.publish(&name, header, frame, cx.now());
    }
}
