//! Compile-time check of literal defaults: text for a number, or a number out of its range. Defaults that are no literals,
//! or belong to custom types, are checked when the configuration is read.

use syn::{Expr, ExprLit, ExprUnary, GenericArgument, Lit, PathArguments, Type, UnOp, spanned::Spanned};

use crate::Options;

/// Kind of a literal, or of the values of a standard type.
#[derive(Clone, Copy, PartialEq)]
enum LiteralKind {
    Bool,
    Integer,
    Number,
    Text,
}

impl LiteralKind {
    fn name(self) -> &'static str {
        match self {
            LiteralKind::Bool => "true or false",
            LiteralKind::Integer => "a whole number",
            LiteralKind::Number => "a number",
            LiteralKind::Text => "text",
        }
    }
}

/// Checks the default of a field against its type and its range.
pub(crate) fn check(key: &str, ty: &Type, options: &Options) -> syn::Result<()> {
    let Some(default) = &options.default else { return Ok(()) };
    let Some(found) = literal_kind(default) else { return Ok(()) };
    if let Some(expected) = type_kind(ty)
        && expected != found
        && !(expected == LiteralKind::Number && found == LiteralKind::Integer)
    {
        let text = format!("the default of `{key}` is {}, but the key takes {}", found.name(), expected.name());
        return Err(syn::Error::new(default.span(), text));
    }
    if let (Some(value), Some((min, max))) = (number(default), &options.range)
        && let (Some(min), Some(max)) = (number(min), number(max))
        && !(min..=max).contains(&value)
    {
        let text = format!("the default of `{key}` is out of its own range, {min} to {max}");
        return Err(syn::Error::new(default.span(), text));
    }
    Ok(())
}

/// Returns the kind of a literal, which may have a minus sign.
fn literal_kind(value: &Expr) -> Option<LiteralKind> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(_), .. }) => Some(LiteralKind::Text),
        Expr::Lit(ExprLit { lit: Lit::Int(_), .. }) => Some(LiteralKind::Integer),
        Expr::Lit(ExprLit { lit: Lit::Float(_), .. }) => Some(LiteralKind::Number),
        Expr::Lit(ExprLit { lit: Lit::Bool(_), .. }) => Some(LiteralKind::Bool),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => literal_kind(expr),
        _ => None,
    }
}

/// Returns the value of a numeric literal, which may have a minus sign.
fn number(value: &Expr) -> Option<f64> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse().ok(),
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) => number.base10_parse().ok(),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => number(expr).map(|number| -number),
        _ => None,
    }
}

/// Returns the kind of a standard type's values, by the name of the type; for an option the kind of its inner type.
fn type_kind(ty: &Type) -> Option<LiteralKind> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    match last.ident.to_string().as_str() {
        "bool" => Some(LiteralKind::Bool),
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => Some(LiteralKind::Integer),
        "f32" | "f64" => Some(LiteralKind::Number),
        "String" | "PathBuf" => Some(LiteralKind::Text),
        "Option" => match &last.arguments {
            PathArguments::AngleBracketed(inner) => inner.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(ty) => type_kind(ty),
                _ => None,
            }),
            _ => None,
        },
        _ => None,
    }
}
