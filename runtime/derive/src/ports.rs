//! `#[derive(InputPorts)]` and `#[derive(OutputPorts)]`: ports as the fields of a struct.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Field, Fields, GenericParam, Ident, ext::IdentExt, spanned::Spanned};

/// Port of a field.
struct Port<'a> {
    ident: &'a Ident,
    field: &'a Field,
    name: String,
    is_held: bool,
}

/// Derives `sideline_api::InputPorts`.
pub fn derive_inputs(input: &DeriveInput) -> syn::Result<TokenStream> {
    let ports = ports(input, true)?;
    let ident = &input.ident;
    // A struct of owned values alone has no lifetime.
    let lifetime = match input.generics.params.first() {
        None => None,
        Some(GenericParam::Lifetime(lifetime)) if input.generics.params.len() == 1 => Some(&lifetime.lifetime),
        Some(other) => {
            return Err(syn::Error::new(other.span(), "InputPorts is derived for structs with at most a lifetime"));
        }
    };
    let default = syn::Lifetime::new("'a", ident.span());
    let trait_lifetime = lifetime.unwrap_or(&default);
    let arguments = lifetime.map(|lifetime| quote!(<#lifetime>));
    let declares = ports.iter().map(|Port { field, name, is_held, .. }| {
        let ty = &field.ty;
        let hold = is_held.then(|| quote!(let spec = spec.hold();));
        quote! { let spec = <#ty as ::sideline_api::typed_ports::InputValue>::declare(spec, #name); #hold }
    });
    let reads = ports.iter().map(|Port { ident, name, .. }| {
        quote! { #ident: ::sideline_api::typed_ports::InputValue::read(input, #name)? }
    });
    Ok(quote! {
        impl<#trait_lifetime> ::sideline_api::typed_ports::InputPorts<#trait_lifetime> for #ident #arguments {
            fn declare(spec: ::sideline_api::Spec) -> ::sideline_api::Spec {
                #(#declares)*
                spec
            }
            fn read(input: &::sideline_api::Inputs<#trait_lifetime>) -> ::sideline_api::Result<Self> {
                Ok(Self { #(#reads),* })
            }
        }
    })
}

/// Derives `sideline_api::OutputPorts`.
pub fn derive_outputs(input: &DeriveInput) -> syn::Result<TokenStream> {
    if let Some(parameter) = input.generics.params.first() {
        return Err(syn::Error::new(parameter.span(), "OutputPorts is derived for structs without parameters"));
    }
    let ports = ports(input, false)?;
    let ident = &input.ident;
    let declares = ports.iter().map(|Port { field, name, .. }| {
        let ty = &field.ty;
        quote! { let spec = <#ty as ::sideline_api::typed_ports::OutputValue>::declare(spec, #name); }
    });
    let sends = ports.iter().map(|Port { ident, name, .. }| {
        quote! { ::sideline_api::typed_ports::OutputValue::send(self.#ident, out, #name)?; }
    });
    Ok(quote! {
        impl ::sideline_api::typed_ports::OutputPorts for #ident {
            fn declare(spec: ::sideline_api::Spec) -> ::sideline_api::Spec {
                #(#declares)*
                spec
            }
            fn send(self, out: &mut ::sideline_api::Outputs) -> ::sideline_api::Result<()> {
                #(#sends)*
                Ok(())
            }
        }
    })
}

fn ports(input: &DeriveInput, are_inputs: bool) -> syn::Result<Vec<Port<'_>>> {
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new(input.span(), "ports are the named fields of a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(syn::Error::new(input.span(), "ports are the named fields of a struct"));
    };
    let mut ports = vec![];
    for field in &fields.named {
        let Some(ident) = &field.ident else { continue };
        let mut is_held = false;
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("port")) {
            attribute.parse_nested_meta(|meta| {
                if !are_inputs {
                    return Err(meta.error("an output has no options"));
                }
                if !meta.path.is_ident("hold") {
                    return Err(meta.error("expected `hold`"));
                }
                is_held = true;
                Ok(())
            })?;
        }
        ports.push(Port { ident, field, name: ident.unraw().to_string(), is_held });
    }
    Ok(ports)
}
