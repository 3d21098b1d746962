//! `#[derive(Config)]`: a documented struct becomes an operator's configuration.
//!
//! The struct's first line of documentation says what the operator does, each field's documentation what raising or
//! lowering the value does. `#[config(default = .., live, range(least, greatest))]` gives the default, marks the value
//! as one that may change while the graph runs, and bounds it. A field without a default must be given; a field
//! `r#loop` is the key `loop`. `#[config(instead_of = "other")]` marks one of two keys of which only one may be set.
//! `#[config(former = "old")]` tells whoever writes an earlier name the new one; `former_frames` where the old one counted
//! frames and the new one is in seconds.
//! `#[config(check = path)]` on the struct names a `fn(&Self) -> Vec<(&'static str, String)>`: what is wrong with values
//! that are right each by itself, a key and a sentence.
#![forbid(unsafe_code)]

mod default;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Data, DeriveInput, Expr, ExprLit, Field, Fields, Lit, LitStr, Meta, Path, Token, ext::IdentExt, parenthesized,
    spanned::Spanned,
};

/// See the crate's documentation.
#[proc_macro_derive(Config, attributes(config))]
pub fn derive_config(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// What `#[config(..)]` says of a field.
#[derive(Default)]
struct Options {
    default: Option<Expr>,
    live: bool,
    range: Option<(Expr, Expr)>,
    instead_of: Option<LitStr>,
    /// The earlier name, and whether that counted frames.
    former: Option<(LitStr, bool)>,
}

fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new(input.span(), "Config is derived for structs with named fields"));
    };
    let fields: Vec<&Field> = match &data.fields {
        Fields::Named(named) => named.named.iter().collect(),
        Fields::Unit => vec![],
        Fields::Unnamed(_) => {
            return Err(syn::Error::new(input.span(), "Config is derived for structs with named fields"));
        }
    };
    let name = &input.ident;
    let about = documentation(&input.attrs).lines().next().unwrap_or_default().trim().to_owned();
    if about.is_empty() {
        return Err(syn::Error::new(input.span(), "a line of documentation is needed: `sideline list` prints it"));
    }
    let mut keys = Vec::new();
    let mut reads = Vec::new();
    let mut writes = Vec::new();
    let mut idents = Vec::new();
    let mut has_live = false;
    for (i, field) in fields.iter().enumerate() {
        let ident = field.ident.as_ref().expect("named fields have names");
        let key = ident.unraw().to_string();
        let about = documentation(&field.attrs);
        if about.is_empty() {
            return Err(syn::Error::new(
                field.span(),
                format!("`{key}` needs documentation: what does raising and lowering it do?"),
            ));
        }
        let options = options(field)?;
        let (ty, live) = (&field.ty, options.live);
        has_live |= live;
        default::check(&key, ty, &options)?;
        let default = match &options.default {
            Some(Expr::Lit(ExprLit { lit: Lit::Str(text), .. })) => {
                quote!(::core::option::Option::Some(::sideline_api::serde_json::Value::from(#text)))
            }
            Some(Expr::Lit(literal)) => {
                quote!(::core::option::Option::Some(::sideline_api::serde_json::Value::from(#literal)))
            }
            Some(value) => quote!({
                let value: #ty = #value;
                ::core::option::Option::Some(::sideline_api::config::to_json(&value))
            }),
            None => quote!(::core::option::Option::None),
        };
        let range = match &options.range {
            Some((least, greatest)) => quote!(::core::option::Option::Some((#least as f64, #greatest as f64))),
            None => quote!(::core::option::Option::None),
        };
        let instead_of = match &options.instead_of {
            Some(other) => quote!(::core::option::Option::Some(#other)),
            None => quote!(::core::option::Option::None),
        };
        let former = match &options.former {
            Some((name, frames)) => quote!(::core::option::Option::Some(::sideline_api::config::Former {
                name: #name, frames: #frames,
            })),
            None => quote!(::core::option::Option::None),
        };
        keys.push(quote!(::sideline_api::config::Key {
            name: #key, about: #about, kind: ::sideline_api::config::Kind::of::<#ty>(), default: #default, live: #live, range: #range,
            instead_of: #instead_of, former: #former,
        }));
        reads.push(quote!(let #ident = ::sideline_api::config::read_field::<#ty>(values, &keys[#i], &mut problems);));
        writes.push(quote!((#key, ::sideline_api::config::to_json(&self.#ident))));
        idents.push(ident);
    }
    let checked = match check(&input.attrs)? {
        Some(check) => quote! {
            let wrong = #check(&config);
            if !wrong.is_empty() {
                return ::core::result::Result::Err(::sideline_api::config::place(wrong, values));
            }
        },
        None => quote!(),
    };
    Ok(quote! {
        impl ::sideline_api::config::Config for #name {
            const ABOUT: &'static str = #about;
            const HAS_LIVE: bool = #has_live;
            fn keys() -> ::std::vec::Vec<::sideline_api::config::Key> {
                ::std::vec![#(#keys),*]
            }
            fn from_values(
                values: &::sideline_api::config::Values,
            ) -> ::core::result::Result<Self, ::std::vec::Vec<::sideline_api::config::Problem>> {
                let keys = Self::keys();
                let mut problems = ::std::vec::Vec::new();
                ::sideline_api::config::unknown_keys(values, &keys, &mut problems);
                #(#reads)*
                match (#(#idents,)*) {
                    (#(::core::option::Option::Some(#idents),)*) if problems.is_empty() => {
                        let config = Self { #(#idents),* };
                        #checked
                        ::core::result::Result::Ok(config)
                    }
                    #[allow(unreachable_patterns)]
                    _ => ::core::result::Result::Err(problems),
                }
            }
            fn to_values(&self) -> ::std::vec::Vec<(&'static str, ::sideline_api::serde_json::Value)> {
                ::std::vec![#(#writes),*]
            }
        }
    })
}

fn options(field: &Field) -> syn::Result<Options> {
    let mut options = Options::default();
    for attribute in field.attrs.iter().filter(|a| a.path().is_ident("config")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("default") {
                options.default = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("live") {
                options.live = true;
            } else if meta.path.is_ident("range") {
                let content;
                parenthesized!(content in meta.input);
                let least = content.parse()?;
                content.parse::<Token![,]>()?;
                options.range = Some((least, content.parse()?));
            } else if meta.path.is_ident("instead_of") {
                options.instead_of = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("former") || meta.path.is_ident("former_frames") {
                options.former = Some((meta.value()?.parse()?, meta.path.is_ident("former_frames")));
            } else {
                return Err(
                    meta.error(
                        "expected `default = ..`, `live`, `range(least, greatest)`, `instead_of = \"key\"`, `former = \"key\"` or \
                         `former_frames = \"key\"`",
                    )
                );
            }
            Ok(())
        })?;
    }
    Ok(options)
}

/// The function named by `#[config(check = path)]` on the struct.
fn check(attributes: &[syn::Attribute]) -> syn::Result<Option<Path>> {
    let mut check = None;
    for attribute in attributes.iter().filter(|a| a.path().is_ident("config")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("check") {
                return Err(meta.error("expected `check = path`"));
            }
            check = Some(meta.value()?.parse()?);
            Ok(())
        })?;
    }
    Ok(check)
}

/// The documentation comment, lines joined.
fn documentation(attributes: &[syn::Attribute]) -> String {
    let lines: Vec<String> = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    lines.join("\n").trim().to_owned()
}
