"use strict";
// One player for all tracks: what it plays, under which licence, or why it cannot.
const player = (() => {
  const audio = byId("audio");
  let loaded = -1;

  // a link of a track, "" if it has none; an own file's is made when it is asked for
  function load(track) {
    audio.pause();
    loaded = track;
    byId("player").hidden = track < 0;
    if (track < 0) return;
    const link = typeof tracks.link[track] === "function" ? tracks.link[track]() : tracks.link[track];
    credit(track);
    byId("audio-note").hidden = true;
    audio.hidden = !link;
    if (link) audio.src = link;
    else {
      audio.removeAttribute("src");
      note("This track cannot be played here: " + (tracks.licence[track] === undefined || tracks.isOwn(track)
        ? "its path is no file or web address that a browser opens."
        : "there is no excerpt of it."));
    }
  }

  function credit(track) {
    const licence = tracks.licence[track], source = tracks.source[track];
    byId("playing").replaceChildren(make("b", "", tracks.title[track]));
    byId("playing").firstChild.title = tracks.title[track];
    const words = [tracks.artist[track] && `by ${tracks.artist[track]}`, licence].filter(Boolean);
    byId("playing").append(words.join(" · "));
    if (!/^https:\/\//.test(source ?? "")) return;
    const link = make("a", "quiet", "source");
    Object.assign(link, { href: source, target: "_blank", rel: "noopener noreferrer" });
    byId("playing").append(" ", link);
  }

  function play(track) {
    if (track !== undefined && (track !== loaded || audio.error)) load(track);
    if (audio.hidden) return;
    audio.play().catch((error) => {
      if (error.name === "NotAllowedError") note("The browser did not let it start by itself; press play.");
      else if (error.name !== "AbortError") unreachable();
    });
  }

  function toggle(track) {
    if (track === loaded && !audio.paused) audio.pause();
    else play(track);
  }

  function unreachable() {
    audio.hidden = true;
    const link = tracks.link[loaded];
    note("This track cannot be played here: " + (typeof link === "string"
      ? `there is no file at ${link} as seen from this page, or the browser does not know its format.`
      : "the browser does not know its format."));
  }

  function note(text) {
    byId("audio-note").textContent = text;
    byId("audio-note").hidden = false;
  }

  // buttons that play a track show whether it does
  function mark() {
    for (const button of document.querySelectorAll("button.play")) {
      const now = Number(button.value) === loaded && !audio.paused;
      button.classList.toggle("on", now);
      button.setAttribute("aria-pressed", String(now));
    }
  }

  function button(track) {
    const made = makeButton("play", () => toggle(track));
    made.value = track;
    made.setAttribute("aria-label", `Play ${tracks.name(track)}`);
    made.setAttribute("aria-pressed", "false");
    return made;
  }

  new ResizeObserver(() => { // for page.css: what lies under the player is scrolled out from there
    document.documentElement.style.setProperty("--player-height", `${byId("player").offsetHeight}px`);
  }).observe(byId("player"));
  audio.addEventListener("error", () => { if (loaded >= 0 && audio.hasAttribute("src")) unreachable(); });
  for (const name of ["play", "pause", "emptied", "ended"]) audio.addEventListener(name, mark);
  return { load, play, toggle, button };
})();
