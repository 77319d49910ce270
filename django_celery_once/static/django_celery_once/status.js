"use strict";

// Follows each {% once_status %} of a page until it is finished: asks its address again, with
// longer pauses as time goes by, and not at all while nobody looks at the page.
(() => {
  const FIRST = 1000;
  const LONGEST = 15000;
  const GROWTH = 1.3;
  // A property, not an attribute: a copy of the page, as Turbo and htmx keep it, is to be followed.
  const FOLLOWED = Symbol.for("django_celery_once.status");

  // Turbo and htmx may load a script again.
  if (window[FOLLOWED]) {
    return;
  }
  window[FOLLOWED] = true;

  function isFinished(element) {
    return element.querySelector("[data-once-finished]") !== null;
  }

  function words(place) {
    return place.querySelector(".once-status-words")?.outerHTML;
  }

  function seen() {
    return new Promise((resolve) => {
      if (!document.hidden) {
        resolve();
        return;
      }
      document.addEventListener("visibilitychange", function look() {
        if (!document.hidden) {
          document.removeEventListener("visibilitychange", look);
          resolve();
        }
      });
    });
  }

  // Returns whether it is worth asking again.
  async function ask(element) {
    const response = await fetch(element.dataset.onceUrl, { headers: { Accept: "text/html" } });
    if (response.status === 403 || response.status === 404) {
      return false;
    }
    if (response.ok && !response.redirected) {
      const news = document.createElement("template");
      news.innerHTML = await response.text();
      // What is put in is read out: nothing that is there already.
      if (words(news.content) !== words(element)) {
        element.replaceChildren(news.content);
      }
    }
    return true;
  }

  async function follow(element) {
    let pause = FIRST;
    let more = true;
    while (more && element.isConnected && !isFinished(element)) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      await seen();
      pause = Math.min(LONGEST, pause * GROWTH);
      if (!element.isConnected) {
        break;
      }
      more = await ask(element).catch(() => true); // offline, maybe: later again
    }
    if (!element.isConnected) {
      element[FOLLOWED] = false; // it may be put back
    }
  }

  function scan() {
    for (const element of document.querySelectorAll("[data-once-url]")) {
      if (!element[FOLLOWED]) {
        element[FOLLOWED] = true;
        follow(element);
      }
    }
  }

  scan();
  // Turbo replaces the body.
  new MutationObserver(scan).observe(document.documentElement, { childList: true, subtree: true });
})();
