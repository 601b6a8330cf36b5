//! A menu: greets, asks for 1, 2 or 9, asks again when another key comes or none, gives up after three tries.
//!
//! The key stays with the call as the note `choice` (`none` when there was no valid one); the hang-up hook logs it.

use voxtra_sdk::prelude::*;

/// "Press one, press two, press nine", of words that every Asterisk has.
const MENU: [&str; 6] = ["sound:vm-press", "digits:1", "sound:vm-press", "digits:2", "sound:vm-press", "digits:9"];

/// How often the menu is said before the call is ended.
const TRIES: u32 = 3;

/// The note that keeps the key.
const CHOICE: &str = "choice";

#[handler]
fn handle(call: &Call) -> Result<()> {
    call.answer()?;
    call.play("sound:hello-world")?;
    match choose(call)? {
        Some(choice) => serve(call, &choice)?,
        None => call.play("sound:sorry")?,
    }
    call.play("sound:vm-goodbye")?;
    call.hangup()?;
    Ok(())
}

#[on_hangup]
fn ended(call: &EndedCall) {
    let choice = call.metadata(CHOICE).unwrap_or("none");
    log::info!("the caller chose {choice}"; choice = choice);
}

/// Says the menu until a key of it is pressed. `None` when the tries are used up.
fn choose(call: &Call) -> Result<Option<String>> {
    let menu = Gather::new().prompt(MENU).max_digits(1);
    for _ in 0..TRIES {
        let pressed = call.gather(&menu)?;
        match pressed.as_str() {
            "1" | "2" | "9" => return Ok(Some(pressed.digits)),
            "" => call.play("sound:please-try-again")?,
            _ => call.play("sound:invalid")?,
        }
    }
    Ok(None)
}

/// Says which key it was, and what follows from it.
fn serve(call: &Call, choice: &str) -> Result<()> {
    call.set_metadata(CHOICE, choice)?;
    call.play(["sound:you-entered".to_owned(), format!("digits:{choice}")])?;
    match choice {
        "1" => call.play("sound:one-moment-please")?,
        "2" => call.play("sound:pls-hold-while-try")?,
        _ => call.play("sound:auth-thankyou")?,
    }
    Ok(())
}
