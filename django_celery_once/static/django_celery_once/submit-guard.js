"use strict";

// Lets a form be sent once per click, however fast the clicks are: while a submit is under way,
// another of the same form is dropped. It is under way no more when its navigation is broken off
// (Stop, another link) or the page is shown again (Back), and what was edited since is another
// submit. No button is disabled, so that its name and value are sent.
(() => {
  // Nobody tells that an answer has left the page where it was, as a download does.
  const LONGEST = 10000; // milliseconds
  // Where the page does not navigate (to a new tab, say), for the clicks of an unsteady hand.
  const CLICKS = 1000;
  const LOADED = Symbol.for("django_celery_once.submit-guard");
  const holds = new Map(); // of each form that is held
  let latest = null; // the hold whose navigation is to begin

  // Turbo and htmx may load a script again.
  if (window[LOADED]) {
    return;
  }
  window[LOADED] = true;

  function forget(hold) {
    clearTimeout(hold.timer);
    const current = holds.get(hold.form) === hold;
    if (current) {
      holds.delete(hold.form);
    }
    return current;
  }

  function letGo(hold) {
    if (forget(hold)) {
      hold.form.removeAttribute("aria-busy");
    }
  }

  function keep(hold, time) {
    clearTimeout(hold.timer);
    hold.timer = setTimeout(letGo, time, hold);
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const asked = (name) =>
      event.submitter?.getAttribute(`form${name}`) ?? form.getAttribute(name) ?? "";
    const off = form.dataset.onceGuard === "off";
    // Who prevents the default sends the form in a way of their own.
    if (off || event.defaultPrevented || asked("method").toLowerCase() !== "post") {
      return;
    }
    if (holds.has(form)) {
      event.preventDefault();
      return;
    }
    const hold = { form };
    holds.set(form, hold);
    latest = hold;
    keep(hold, window.navigation || asked("target") ? CLICKS : LONGEST);
    setTimeout(() => {
      if (event.defaultPrevented) {
        forget(hold); // by a later listener, such as Turbo's
      } else if (holds.get(form) === hold) {
        form.setAttribute("aria-busy", "true");
      }
    });
  });

  window.navigation?.addEventListener("navigate", (event) => {
    const hold = latest;
    if (event.formData !== null && hold !== null && holds.get(hold.form) === hold) {
      keep(hold, LONGEST);
      event.signal.addEventListener("abort", () => letGo(hold));
      latest = null;
    }
  });

  for (const edit of ["input", "change", "reset"]) {
    document.addEventListener(edit, (event) => {
      const hold = holds.get(event.target.form ?? event.target.closest?.("form"));
      if (hold) {
        letGo(hold);
      }
    });
  }

  // Back may bring the page as it was left.
  window.addEventListener("pageshow", () => [...holds.values()].forEach(letGo));
})();
