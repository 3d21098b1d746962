//! `#[derive(InputPorts)]` and `#[derive(OutputPorts)]`: ports as the fields of a struct; see `sideline_api::typed_ports`.
//!
//! `#[derive(Config)]`: makes a documented struct the configuration of an operator.
//!
//! The first line of the struct's documentation is the purpose of the operator. The documentation of a field is the help
//! text of its key and says what raising and lowering the value does.
//!
//! Attributes of a field:
//! - `#[config(default = ..)]`: default value. A field without a default must be set.
//! - `#[config(live)]`: the key may change while the flow runs.
//! - `#[config(range(min, max))]`: limits of the value.
//! - `#[config(instead_of = "other")]`: only one of this key and `other` may be set.
//! - `#[config(former = "old")]`: using the former name is an error that gives the new one; `former_frames = "old"` if the
//!   former key counted frames and the new one is in seconds.
//!
//! A field `r#loop` is the key `loop`.
//!
//! If every field has a default, the struct implements [`Default`] with these values.
//!
//! `#[config(check = path)]` on the struct names a `fn(&Self) -> Vec<(&'static str, String)>` that checks values against each
//! other and returns a key and a message for each problem. `#[config(moved(key = "operator"))]` on the struct: using a key that
//! is one of another operator now is an error that names that operator.
#![forbid(unsafe_code)]

mod default;
mod ports;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Data, DeriveInput, Expr, ExprLit, Field, Fields, Lit, LitStr, Meta, Path, Token, ext::IdentExt, parenthesized,
    spanned::Spanned,
};

/// Derives `sideline_api::Config`; see the [crate](self).
#[proc_macro_derive(Config, attributes(config))]
pub fn derive_config(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Derives `sideline_api::InputPorts`: the fields of a struct become the inputs of an operator. `#[port(hold)]` on a field
/// delivers its last data again for frames that have none.
#[proc_macro_derive(InputPorts, attributes(port))]
pub fn derive_input_ports(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    ports::derive_inputs(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Derives `sideline_api::OutputPorts`: the fields of a struct become the outputs of an operator.
#[proc_macro_derive(OutputPorts, attributes(port))]
pub fn derive_output_ports(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    ports::derive_outputs(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Parsed `#[config(..)]` attributes of a field.
#[derive(Default)]
struct Options {
    default: Option<Expr>,
    live: bool,
    range: Option<(Expr, Expr)>,
    instead_of: Option<LitStr>,
    former: Option<Former>,
}

/// Former name of a key.
struct Former {
    name: LitStr,
    /// True if the former key counted frames.
    counted_frames: bool,
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
        return Err(syn::Error::new(input.span(), "a line of documentation is needed, which `sideline list` prints"));
    }
    let mut keys = Vec::new();
    let mut reads = Vec::new();
    let mut writes = Vec::new();
    let mut idents = Vec::new();
    let (mut has_live, mut has_all_defaults) = (false, true);
    for (i, field) in fields.iter().enumerate() {
        let Some(ident) = &field.ident else {
            return Err(syn::Error::new(field.span(), "Config is derived for structs with named fields"));
        };
        let key = ident.unraw().to_string();
        let about = documentation(&field.attrs);
        if about.is_empty() {
            return Err(syn::Error::new(
                field.span(),
                format!("`{key}` needs documentation: what does raising and lowering it do?"),
            ));
        }
        let options = parse_options(field)?;
        let (ty, live) = (&field.ty, options.live);
        has_live |= live;
        has_all_defaults &= options.default.is_some();
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
            Some((min, max)) => quote!(::core::option::Option::Some((#min as f64, #max as f64))),
            None => quote!(::core::option::Option::None),
        };
        let instead_of = match &options.instead_of {
            Some(other) => quote!(::core::option::Option::Some(#other)),
            None => quote!(::core::option::Option::None),
        };
        let former = match &options.former {
            Some(Former { name, counted_frames }) => {
                quote!(::core::option::Option::Some(::sideline_api::config::FormerName {
                    name: #name, counted_frames: #counted_frames,
                }))
            }
            None => quote!(::core::option::Option::None),
        };
        keys.push(quote!(::sideline_api::config::Key {
            name: #key, about: #about, kind: ::sideline_api::config::Kind::for_type::<#ty>(), default: #default, live: #live, range: #range,
            instead_of: #instead_of, former: #former,
        }));
        reads.push(quote!(let #ident = ::sideline_api::config::read_field::<#ty>(values, &keys[#i], &mut problems);));
        writes.push(quote!((#key, ::sideline_api::config::to_json(&self.#ident))));
        idents.push(ident);
    }
    let StructOptions { check, moved } = parse_struct_options(&input.attrs)?;
    let moved = moved.iter().map(|(key, operator)| quote!((#key, #operator)));
    let checked = match check {
        Some(check) => quote! {
            let problems = #check(&config);
            if !problems.is_empty() {
                return ::core::result::Result::Err(::sideline_api::config::with_origins(problems, values));
            }
        },
        None => quote!(),
    };
    let default = has_all_defaults.then(|| {
        quote! {
            impl ::core::default::Default for #name {
                fn default() -> Self {
                    ::sideline_api::config::declared_defaults()
                }
            }
        }
    });
    Ok(quote! {
        #default
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
                ::sideline_api::config::unknown_keys(values, &keys, &[#(#moved),*], &mut problems);
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

fn parse_options(field: &Field) -> syn::Result<Options> {
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
                let min = content.parse()?;
                content.parse::<Token![,]>()?;
                options.range = Some((min, content.parse()?));
            } else if meta.path.is_ident("instead_of") {
                options.instead_of = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("former") || meta.path.is_ident("former_frames") {
                let counted_frames = meta.path.is_ident("former_frames");
                options.former = Some(Former { name: meta.value()?.parse()?, counted_frames });
            } else {
                return Err(meta.error(
                    "expected `default = ..`, `live`, `range(min, max)`, `instead_of = \"key\"`, `former = \"key\"` or \
                         `former_frames = \"key\"`",
                ));
            }
            Ok(())
        })?;
    }
    Ok(options)
}

/// Parsed `#[config(..)]` attributes of the struct.
#[derive(Default)]
struct StructOptions {
    /// Function that checks values against each other.
    check: Option<Path>,
    /// Keys that moved, and the operators that have them now.
    moved: Vec<(String, LitStr)>,
}

fn parse_struct_options(attributes: &[syn::Attribute]) -> syn::Result<StructOptions> {
    let mut options = StructOptions::default();
    for attribute in attributes.iter().filter(|a| a.path().is_ident("config")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("check") {
                options.check = Some(meta.value()?.parse()?);
                Ok(())
            } else if meta.path.is_ident("moved") {
                meta.parse_nested_meta(|key| {
                    let name = key.path.require_ident()?.to_string();
                    options.moved.push((name, key.value()?.parse()?));
                    Ok(())
                })
            } else {
                Err(meta.error("expected `check = path` or `moved(key = \"operator\")`"))
            }
        })?;
    }
    Ok(options)
}

/// Returns the documentation comment with its lines joined.
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
