//! `errors!`: `Display` and `Error` for error types, from one sentence for each of them.

use std::error::Error;
use std::io;

use super::Failure;

/// Implements `Display` and `Error` for structs and enums from one sentence each.
///
/// ```text
/// errors! {
///     Cancelled: "cancelled";
///     NoRoute { address }: "no route to {address}", source error;
///     enum PipeError {
///         Missing { fd }: "the child has no pipe at descriptor {fd}";
///         Read { fd }: "cannot read from {}", with name_of(*fd), source error;
///         Rejected(reason): "rejected because of {reason}";
///         Failed: "the pipe failed", source 0;
///         Closed: "the pipe is closed";
///     }
/// }
/// ```
///
/// The names in braces or parentheses are fields (of a struct, of a variant, of a tuple variant);
/// the text formats them. `with` adds a value for a `{}` of the text. `source` names the field
/// (by name, or by number in a tuple) that [`Error::source`] returns: an error, a [`Failure`], or
/// an `Option` of one.
macro_rules! errors {
    () => {};
    (enum $name:ident {
        $($variant:ident $({ $($field:ident),+ })? $(( $($item:ident),+ ))?:
            $text:literal $(, with $value:expr)* $(, source $source:tt)?;)+
    } $($rest:tt)*) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $($crate::failure::errors!(
                        @variant $variant $({ $($field),+ })? $(( $($item),+ ))?
                    ) => write!(f, $text $(, $value)*),)+
                }
            }
        }

        impl std::error::Error for $name {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                $($(if let Self::$variant { $source: error, .. } = self {
                    return $crate::failure::AsSource::as_source(error);
                })?)+
                None
            }
        }

        $crate::failure::errors! { $($rest)* }
    };
    (@variant $variant:ident) => { Self::$variant { .. } };
    (@variant $variant:ident { $($field:ident),+ }) => { Self::$variant { $($field),+, .. } };
    (@variant $variant:ident ( $($item:ident),+ )) => { Self::$variant($($item),+) };
    ($name:ident $({ $($field:ident),+ })?:
        $text:literal $(, with $value:expr)* $(, source $source:tt)?; $($rest:tt)*) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $(let Self { $($field),+, .. } = self;)?
                write!(f, $text $(, $value)*)
            }
        }

        impl std::error::Error for $name {
            $(fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                $crate::failure::AsSource::as_source(&self.$source)
            })?
        }

        $crate::failure::errors! { $($rest)* }
    };
}
pub(crate) use errors;

/// A field that an error returns as its source.
pub(crate) trait AsSource {
    fn as_source(&self) -> Option<&(dyn Error + 'static)>;
}

impl AsSource for io::Error {
    fn as_source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

impl AsSource for Failure {
    fn as_source(&self) -> Option<&(dyn Error + 'static)> {
        let error: &(dyn Error + 'static) = self.error();
        Some(error)
    }
}

impl<S: AsSource> AsSource for Option<S> {
    fn as_source(&self) -> Option<&(dyn Error + 'static)> {
        self.as_ref()?.as_source()
    }
}
