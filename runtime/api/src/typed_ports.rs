//! Ports as the fields of a struct: a port that is misspelled, or read as a type other than its own, does not compile.
//!
//! The fields of a struct with `#[derive(InputPorts)]` are the inputs of an operator, and those of a struct with
//! `#[derive(OutputPorts)]` its outputs. [`Spec::reads`] and [`Spec::sends`] declare them; [`Inputs::read`] reads the inputs,
//! and [`Outputs::send`] sends the outputs.
//!
//! | type of a field | port |
//! |---|---|
//! | `&'a Arc<Frame>`, `Vec<T>` | required input of frames, of rows |
//! | `Option<..>` of these | optional input |
//! | `&'a [Message]` | feedback input of any type: the messages that arrived since the last call |
//! | `Vec<T>`, `Arc<Frame>` | output of rows, of frames |
//! | `Option<..>` of these | the same; `None` sends an empty table, or `skipped: none` for frames |
//!
//! `#[port(hold)]` on an optional input delivers its last data again for frames that have none.
//!
//! ```
//! use std::sync::Arc;
//! use sideline_api::{table, *};
//! # use sideline_api::testing::{Harness, Setup};
//!
//! table! {
//!     /// Number of fast balls.
//!     pub struct Fast in "fast" {
//!         /// Number of balls.
//!         pub balls: u32,
//!     }
//! }
//!
//! #[derive(InputPorts)]
//! struct Reads<'a> {
//!     frames: &'a Arc<Frame>,
//!     counts: Option<Vec<tables::Count>>,
//! }
//!
//! #[derive(OutputPorts)]
//! struct Sends {
//!     fast: Vec<Fast>,
//! }
//!
//! # /// Counts fast balls.
//! # #[derive(Clone, Config)]
//! # pub struct FastConfig {}
//! struct FastBalls;
//!
//! impl Operator for FastBalls {
//!     # type Config = FastConfig;
//!     # type State = ();
//!     # fn new(_: FastConfig, _: &Resources) -> Result<Self> { Ok(FastBalls) }
//!     fn spec() -> Spec {
//!         Spec::operator("fast_balls").reads::<Reads>().sends::<Sends>()
//!     }
//!
//!     fn process(&mut self, _: &Context, input: &Inputs, _: &mut (), out: &mut Outputs) -> Result<()> {
//!         let Reads { frames, counts } = input.read()?;
//!         let balls = frames.width() + counts.map_or(0, |rows| rows.len() as u32);
//!         out.send(Sends { fast: vec![Fast { balls }] })
//!     }
//!     // The other items are those of every operator.
//! }
//! # let spec = FastBalls::spec();
//! # assert!(spec.find_input("frames").unwrap().required && !spec.find_input("counts").unwrap().required);
//! # let inputs = Some(vec![("frames", Alignment::Source(SourceId(0)))]);
//! # let mut fast = Harness::<FastBalls>::with(Values::new(), Setup { inputs, ..Setup::default() }).unwrap();
//! # let color = Color::default_for_height(2);
//! # fast.push_frame("frames", Frame::from_packed(2, 2, Encoding::Rgb8, color, vec![0; 12]).unwrap()).unwrap();
//! # assert_eq!(fast.expect::<Fast>("fast"), [Fast { balls: 2 }]);
//! ```
//!
//! A field that does not exist is a compile error:
//!
//! ```compile_fail
//! # use std::sync::Arc;
//! # use sideline_api::*;
//! #[derive(InputPorts)]
//! struct Reads<'a> {
//!     frames: &'a Arc<Frame>,
//! }
//!
//! fn width(input: &Inputs) -> Result<u32> {
//!     let Reads { frame } = input.read()?;
//!     Ok(frame.width())
//! }
//! ```

use std::sync::Arc;

use crate::{Frame, Inputs, Message, Outputs, PortType, Result, Spec, Table};

/// Inputs of an operator as a struct. It is derived; see the [module](self).
pub trait InputPorts<'a>: Sized {
    /// Adds the inputs to a spec.
    fn declare(spec: Spec) -> Spec;

    /// Reads the inputs of a call.
    ///
    /// # Errors
    /// When a message is not of the type of its port.
    fn read(input: &Inputs<'a>) -> Result<Self>;
}

/// Outputs of an operator as a struct. It is derived; see the [module](self).
pub trait OutputPorts {
    /// Adds the outputs to a spec.
    fn declare(spec: Spec) -> Spec;

    /// Sends all outputs.
    ///
    /// # Errors
    /// When an output was sent before.
    fn send(self, out: &mut Outputs) -> Result<()>;
}

/// Type of a field of [`InputPorts`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of an input port",
    label = "expected `&'a Arc<Frame>`, `Vec<T>` with a row type `T`, an `Option` of these, or `&'a [Message]`"
)]
pub trait InputValue<'a>: Sized {
    /// Adds the input to a spec.
    fn declare(spec: Spec, name: &'static str) -> Spec;

    /// Reads the input.
    ///
    /// # Errors
    /// When the message is of another type.
    fn read(input: &Inputs<'a>, name: &str) -> Result<Self>;
}

impl<'a> InputValue<'a> for &'a Arc<Frame> {
    fn declare(spec: Spec, name: &'static str) -> Spec {
        spec.required(name, PortType::Frame)
    }
    fn read(input: &Inputs<'a>, name: &str) -> Result<Self> {
        input.frame(name)
    }
}

impl<'a> InputValue<'a> for Option<&'a Arc<Frame>> {
    fn declare(spec: Spec, name: &'static str) -> Spec {
        spec.optional(name, PortType::Frame)
    }
    fn read(input: &Inputs<'a>, name: &str) -> Result<Self> {
        input.payload(name).map(|_| input.frame(name)).transpose()
    }
}

impl<'a, T: Table> InputValue<'a> for Vec<T> {
    fn declare(spec: Spec, name: &'static str) -> Spec {
        spec.required(name, PortType::table::<T>())
    }
    fn read(input: &Inputs<'a>, name: &str) -> Result<Self> {
        input.required_rows(name)
    }
}

impl<'a, T: Table> InputValue<'a> for Option<Vec<T>> {
    fn declare(spec: Spec, name: &'static str) -> Spec {
        spec.optional(name, PortType::table::<T>())
    }
    fn read(input: &Inputs<'a>, name: &str) -> Result<Self> {
        input.rows(name)
    }
}

impl<'a> InputValue<'a> for &'a [Message] {
    fn declare(spec: Spec, name: &'static str) -> Spec {
        spec.optional(name, PortType::Any).feedback()
    }
    fn read(input: &Inputs<'a>, name: &str) -> Result<Self> {
        Ok(input.side(name))
    }
}

/// Type of a field of [`OutputPorts`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of an output port",
    label = "expected `Vec<T>` with a row type `T`, `Arc<Frame>`, or an `Option` of these"
)]
pub trait OutputValue {
    /// Adds the output to a spec.
    fn declare(spec: Spec, name: &'static str) -> Spec;

    /// Sends the output.
    ///
    /// # Errors
    /// When it was sent before.
    fn send(self, out: &mut Outputs, name: &str) -> Result<()>;
}

impl OutputValue for Arc<Frame> {
    fn declare(spec: Spec, name: &'static str) -> Spec {
        spec.output(name, PortType::Frame)
    }
    fn send(self, out: &mut Outputs, name: &str) -> Result<()> {
        out.frame(name, self)
    }
}

impl OutputValue for Option<Arc<Frame>> {
    fn declare(spec: Spec, name: &'static str) -> Spec {
        spec.output(name, PortType::Frame)
    }
    fn send(self, out: &mut Outputs, name: &str) -> Result<()> {
        self.map_or(Ok(()), |frame| out.frame(name, frame))
    }
}

impl<T: Table> OutputValue for Vec<T> {
    fn declare(spec: Spec, name: &'static str) -> Spec {
        spec.output(name, PortType::table::<T>())
    }
    fn send(self, out: &mut Outputs, name: &str) -> Result<()> {
        out.rows(name, &self)
    }
}

impl<T: Table> OutputValue for Option<Vec<T>> {
    fn declare(spec: Spec, name: &'static str) -> Spec {
        spec.output(name, PortType::table::<T>())
    }
    fn send(self, out: &mut Outputs, name: &str) -> Result<()> {
        self.map_or(Ok(()), |rows| out.rows(name, &rows))
    }
}
