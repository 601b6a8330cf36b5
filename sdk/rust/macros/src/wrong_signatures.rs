//! Functions that the attributes refuse: each example must fail to compile.

/// `#[handler]` refuses an argument of the attribute.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[handler(8000)]
/// fn handle(call: &Call) -> Result<()> { Ok(()) }
/// ```
mod _an_argument_of_the_attribute {}

/// `#[handler]` refuses something that is not a function.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[handler]
/// struct Handler;
/// ```
mod _something_that_is_not_a_function {}

/// `#[handler]` refuses an async function.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[handler]
/// async fn handle(call: &Call) -> Result<()> { Ok(()) }
/// ```
mod _an_async_function {}

/// `#[handler]` refuses type parameters.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[handler]
/// fn handle<T>(call: &Call) -> Result<()> { Ok(()) }
/// ```
mod _type_parameters {}

/// `#[handler]` refuses no parameter.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[handler]
/// fn handle() -> Result<()> { Ok(()) }
/// ```
mod _no_parameter {}

/// `#[handler]` refuses two parameters.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[handler]
/// fn handle(call: &Call, tries: &u32) -> Result<()> { Ok(()) }
/// ```
mod _two_parameters {}

/// `#[handler]` refuses a call by value.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[handler]
/// fn handle(call: Call) -> Result<()> { Ok(()) }
/// ```
mod _a_call_by_value {}

/// `#[handler]` refuses a call to be changed.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[handler]
/// fn handle(call: &mut Call) -> Result<()> { Ok(()) }
/// ```
mod _a_call_to_be_changed {}

/// `#[handler]` refuses another type.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[handler]
/// fn handle(call: &EndedCall) -> Result<()> { Ok(()) }
/// ```
mod _another_type {}

/// `#[handler]` refuses a result with something in it.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[handler]
/// fn handle(call: &Call) -> Result<u32> { Ok(1) }
/// ```
mod _a_result_with_something_in_it {}

/// `#[on_hangup]` refuses a call that is not over.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[on_hangup]
/// fn ended(call: &Call) {}
/// ```
mod _a_call_that_is_not_over {}

/// `#[router]` refuses a call.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[router]
/// fn route(call: &Call) -> Option<Decision> { None }
/// ```
mod _a_call_to_be_routed {}

/// `#[router]` refuses an answer of another kind.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[router]
/// fn route(call: &CallInfo) -> Result<Verdict> { Ok(Verdict::Keep) }
/// ```
mod _an_answer_of_another_kind {}

/// `#[filter]` refuses no answer.
///
/// ```compile_fail
/// use voxtra_sdk::prelude::*;
/// #[filter]
/// fn filter(event: &OutgoingEvent) {}
/// ```
mod _no_answer {}
