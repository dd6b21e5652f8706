//! Behaviour tests on both drivers.

/// Makes four tests of each behaviour: on the machine and in memory, each also through TLS.
#[macro_export]
macro_rules! on_all {
    ($($tests:tt)+) => {
        $crate::on_both! { $($tests)+ }
        $crate::in_tls! { $($tests)+ }
    };
}

/// Makes eight tests of each behaviour: those of [`on_all!`], and the same over UNIX sockets.
#[macro_export]
macro_rules! on_transports {
    ($($tests:tt)+) => {
        $crate::on_all! { $($tests)+ }
        $crate::over_unix! { $($tests)+ }
    };
}

/// Makes two tests of each behaviour through TLS.
#[macro_export]
macro_rules! in_tls {
    ($(async fn $name:ident($reactor:ident) $body:block)+) => {
        mod in_tls {
            mod machine {
                $(#[test]
                fn $name() {
                    let reactor = torsade::Reactor::new().unwrap();
                    $crate::use_tls(&reactor);
                    torsade::testing::run_on(reactor, super::super::$name);
                })+
            }

            mod memory {
                $(#[test]
                fn $name() {
                    let reactor = torsade::Reactor::in_memory().unwrap();
                    $crate::use_tls(&reactor);
                    torsade::testing::run_on(reactor, super::super::$name);
                })+
            }
        }
    };
}

/// Makes four tests of each behaviour over UNIX sockets, for a body that listens at
/// [`Anywhere`](crate::Anywhere).
#[macro_export]
macro_rules! over_unix {
    ($(async fn $name:ident($reactor:ident) $body:block)+) => {
        #[cfg(target_os = "linux")]
        mod over_unix {
            mod machine {
                $(#[test]
                fn $name() {
                    $crate::over_unix(torsade::Reactor::new().unwrap(), super::super::$name);
                })+
            }

            mod memory {
                $(#[test]
                fn $name() {
                    $crate::over_unix(torsade::Reactor::in_memory().unwrap(), super::super::$name);
                })+
            }

            mod machine_in_tls {
                $(#[test]
                fn $name() {
                    let reactor = torsade::Reactor::new().unwrap();
                    $crate::use_tls(&reactor);
                    $crate::over_unix(reactor, super::super::$name);
                })+
            }

            mod memory_in_tls {
                $(#[test]
                fn $name() {
                    let reactor = torsade::Reactor::in_memory().unwrap();
                    $crate::use_tls(&reactor);
                    $crate::over_unix(reactor, super::super::$name);
                })+
            }
        }
    };
}

/// Makes two tests of each behaviour: on the machine, and in memory.
#[macro_export]
macro_rules! on_both {
    ($(async fn $name:ident($reactor:ident) $body:block)+) => {
        $(async fn $name($reactor: torsade::Reactor) -> Result<(), torsade::Failure> {
            $body
            #[allow(unreachable_code, reason = "a body may end by a panic")]
            Ok(())
        })+

        mod machine {
            $(#[test]
            fn $name() {
                torsade::testing::run_on(torsade::Reactor::new().unwrap(), super::$name);
            })+
        }

        mod memory {
            $(#[test]
            fn $name() {
                torsade::testing::run_on(torsade::Reactor::in_memory().unwrap(), super::$name);
            })+
        }
    };
}

/// The same for tests that run the reactor themselves.
#[macro_export]
macro_rules! on_both_by_hand {
    ($(fn $name:ident($reactor:ident) $body:block)+) => {
        $(fn $name($reactor: torsade::Reactor) $body)+

        mod machine_by_hand {
            $(#[test]
            fn $name() {
                super::$name(torsade::Reactor::new().unwrap());
            })+
        }

        mod memory_by_hand {
            $(#[test]
            fn $name() {
                super::$name(torsade::Reactor::in_memory().unwrap());
            })+
        }
    };
}
