"use strict";

// Lets a form be sent once per click, however fast the clicks are. The second "submit" is
// dropped while the first is under way. No button is disabled, so that its name and value are
// sent; after Back, and where the answer is a download, the form can be sent again.
(() => {
  const LONGEST = 10000; // milliseconds: also where the page stays, as after a download
  const sending = new Map();

  function finish(form) {
    clearTimeout(sending.get(form));
    sending.delete(form);
    form.removeAttribute("aria-busy");
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const method = event.submitter?.getAttribute("formmethod") ?? form.getAttribute("method") ?? "";
    const off = form.dataset.onceGuard === "off";
    // Who prevents the default sends the form in a way of their own.
    if (off || event.defaultPrevented || method.toLowerCase() !== "post") {
      return;
    }
    if (sending.has(form)) {
      event.preventDefault();
      return;
    }
    sending.set(form, setTimeout(() => finish(form), LONGEST));
    form.setAttribute("aria-busy", "true");
  });

  // Back may bring the page as it was left.
  window.addEventListener("pageshow", () => [...sending.keys()].forEach(finish));
})();
