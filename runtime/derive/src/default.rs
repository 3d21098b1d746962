//! Defaults that no start would accept are told where they are written, at compile time: a text for a number, a number
//! outside its range. A default that is no literal, or of a type of one's own, is only known when it is read.

use syn::{Expr, ExprLit, ExprUnary, GenericArgument, Lit, PathArguments, Type, UnOp, spanned::Spanned};

use crate::Options;

/// Values that a type of the standard library takes.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    Truth,
    Whole,
    Number,
    Text,
}

impl Takes {
    fn name(self) -> &'static str {
        match self {
            Takes::Truth => "true or false",
            Takes::Whole => "a whole number",
            Takes::Number => "a number",
            Takes::Text => "text",
        }
    }
}

/// Checks the default of a field against its type and its range.
pub(crate) fn check(key: &str, ty: &Type, options: &Options) -> syn::Result<()> {
    let Some(default) = &options.default else { return Ok(()) };
    let Some(given) = literal(default) else { return Ok(()) };
    if let Some(takes) = takes(ty)
        && takes != given
        && !(takes == Takes::Number && given == Takes::Whole)
    {
        let text = format!("the default of `{key}` is {}, but the key takes {}", given.name(), takes.name());
        return Err(syn::Error::new(default.span(), text));
    }
    if let (Some(value), Some((least, greatest))) = (number(default), &options.range)
        && let (Some(least), Some(greatest)) = (number(least), number(greatest))
        && !(least..=greatest).contains(&value)
    {
        let text = format!("the default of `{key}` is out of its own range, {least} to {greatest}");
        return Err(syn::Error::new(default.span(), text));
    }
    Ok(())
}

/// The kind of a literal, with its sign.
fn literal(value: &Expr) -> Option<Takes> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(_), .. }) => Some(Takes::Text),
        Expr::Lit(ExprLit { lit: Lit::Int(_), .. }) => Some(Takes::Whole),
        Expr::Lit(ExprLit { lit: Lit::Float(_), .. }) => Some(Takes::Number),
        Expr::Lit(ExprLit { lit: Lit::Bool(_), .. }) => Some(Takes::Truth),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => literal(expr),
        _ => None,
    }
}

fn number(value: &Expr) -> Option<f64> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse().ok(),
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) => number.base10_parse().ok(),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => number(expr).map(|number| -number),
        _ => None,
    }
}

/// What a type takes, as far as its name tells; that of an option for the option.
fn takes(ty: &Type) -> Option<Takes> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    match last.ident.to_string().as_str() {
        "bool" => Some(Takes::Truth),
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => Some(Takes::Whole),
        "f32" | "f64" => Some(Takes::Number),
        "String" | "PathBuf" => Some(Takes::Text),
        "Option" => match &last.arguments {
            PathArguments::AngleBracketed(inner) => inner.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(ty) => takes(ty),
                _ => None,
            }),
            _ => None,
        },
        _ => None,
    }
}
