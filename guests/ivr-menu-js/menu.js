// The menu of ../ivr-menu in plain JavaScript, on the contract itself: no library in between.
//
// Greets, asks for 1, 2 or 9, asks again when another key comes or none, gives up after three tries. The key stays with
// the call as the note `choice`; the hang-up hook logs it (`none` when there was no valid one).

import logging from "voxtra:call/logging@0.1.0";

/** "Press one, press two, press nine", of words that every Asterisk has. */
const MENU = ["sound:vm-press", "digits:1", "sound:vm-press", "digits:2", "sound:vm-press", "digits:9"];

/** How often the menu is said before the call is ended. */
const TRIES = 3;

/** The note that keeps the key. */
const CHOICE = "choice";

/** What the host runs for each call. */
export function handle(call) {
  try {
    menu(call);
  } catch (error) {
    const why = error.payload; // an error of the contract: its case as `tag`, its sentence as `val`
    if (why?.tag === "hung-up") return; // no failure
    throw why ? (why.val ?? why.tag) : error;
  }
}

/** What the host runs once when the call is over. */
export const hangupHook = {
  onHangup(call) {
    const choice = new Map(call.metadata).get(CHOICE) ?? "none";
    logging.log("info", `the caller chose ${choice}`, [["choice", choice]]);
  },
};

function menu(call) {
  call.answer();
  play(call, "sound:hello-world");
  const choice = choose(call);
  if (choice === undefined) play(call, "sound:sorry");
  else serve(call, choice);
  play(call, "sound:vm-goodbye");
  call.hangup("normal");
}

/** Says the menu until a key of it is pressed; `undefined` when the tries are used up. */
function choose(call) {
  const options = {
    prompt: MENU,
    minDigits: 1,
    maxDigits: 1,
    terminators: "",
    firstTimeoutMs: 0, // the host's own
    interDigitTimeoutMs: 0,
  };
  for (let tries = 0; tries < TRIES; tries++) {
    const { digits } = call.gather(options);
    if (["1", "2", "9"].includes(digits)) return digits;
    play(call, digits === "" ? "sound:please-try-again" : "sound:invalid");
  }
}

/** Says which key it was, and what follows from it. */
function serve(call, choice) {
  call.metadataSet(CHOICE, choice);
  play(call, "sound:you-entered", `digits:${choice}`);
  const next = { 1: "sound:one-moment-please", 2: "sound:pls-hold-while-try" };
  play(call, next[choice] ?? "sound:auth-thankyou");
}

/** Plays prompts to their end; no key stops them. */
function play(call, ...media) {
  call.play(media, { interruptOn: "" });
}
