"use strict";
(() => {
  const $ = id => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const root = document.documentElement, timeline = $("timeline"), player = $("player");
  const span = data.span_s, step = data.step_s, intervals = data.intervals;
  const NARROWEST = Math.min(span, Math.max(10 * step, 0.2));
  const view = { start: 0, end: span };
  let time = 0, playing = null, dirty = false, curves = {};

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const length = () => view.end - view.start;
  const place = t => (t - view.start) / length();
  const timecode = t => {
    const ms = Math.round(Math.max(0, t) * 1000), two = n => String(n).padStart(2, "0");
    return `${two(Math.floor(ms / 3600000))}:${two(Math.floor(ms / 60000) % 60)}:${two(Math.floor(ms / 1000) % 60)}.${String(ms % 1000).padStart(3, "0")}`;
  };
  const make = (tag, className, parent) => {
    const element = document.createElement(tag);
    element.className = className;
    if (parent) parent.append(element);
    return element;
  };
  const inks = new Map();  /* emptied before each drawing, because light and dark may change */
  const colour = name => {
    if (!inks.has(name)) inks.set(name, getComputedStyle(root).getPropertyValue(`--${name}`).trim());
    return inks.get(name);
  };
  const say = text => { $("status").textContent = text; };
  const describe = k => {
    const [start, end, modality, score] = intervals[k];
    const whose = data.several && data.people[k] ? ` of person ${data.people[k]}` : "";
    return `Interval ${k + 1} of ${intervals.length}, ${data.words[modality]}${whose}, ${timecode(start)} to ${timecode(end)}, score ${score.toFixed(2)}`;
  };

  /* Curves: one value per point, NaN where there was no media. */
  async function unpack({ top, steps, values, unit, codes }) {
    if (values) return { top, steps, points: Float32Array.from(values, v => v === null ? NaN : v) };
    const bytes = Uint8Array.from(atob(codes), c => c.charCodeAt(0));
    const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const deltas = new Uint8Array(await new Response(inflated).arrayBuffer());
    const points = new Float32Array(deltas.length);
    for (let k = 0, code = 0; k < deltas.length; k++) {
      code = (code + deltas[k]) & 255;
      points[k] = code === 255 ? NaN : code * unit;
    }
    return { top, steps, points };
  }
  const pointAt = (curve, t) => Math.floor((t - data.start_s) / (step * curve.steps) + 1e-6);

  /* Lanes: what the page holds stays for print and for readers without a script; canvases lie above it. */
  const lanes = [...timeline.querySelectorAll("[data-lane]")].map(track => {
    const lane = track.closest(".lane"), name = track.dataset.lane;
    const modality = ["visual", "audio", "both"].find(m => lane.classList.contains(m)) || "visual";
    const kind = ["frames", "marks", "curve", "spectrogram"].find(k => lane.classList.contains(k));
    return { track, name, modality, kind, canvas: kind === "curve" || kind === "spectrogram" ? make("canvas", "", track) : null };
  });
  const image = timeline.querySelector(".spectrogram img");
  const rulerLane = make("div", "lane ruler");
  make("p", "label muted", rulerLane).textContent = "Time";
  const rulerTrack = make("div", "track", rulerLane), ruler = make("canvas", "", rulerTrack);
  timeline.prepend(rulerLane);
  const overview = make("div", "lane overview", timeline);
  make("p", "label muted", overview).textContent = "Whole clip";
  const minimap = make("div", "", overview), map = make("canvas", "", minimap), frame = make("div", "window", minimap);
  minimap.id = "minimap";
  const cover = make("div", "cover", timeline), playhead = make("div", "", cover);
  playhead.id = "playhead";
  const attributes = (element, values) => Object.entries(values).forEach(([k, v]) => element.setAttribute(k, v));
  attributes(minimap, { role: "scrollbar", tabindex: 0, "aria-label": "Part of the clip in view", "aria-controls": "timeline", "aria-orientation": "horizontal", "aria-valuemin": 0 });
  attributes(playhead, { role: "slider", tabindex: 0, "aria-label": "Position in the clip", "aria-valuemin": 0, "aria-valuemax": span });
  timeline.tabIndex = 0;

  const spans = [], voids = [], thumbs = [];
  for (const lane of lanes) {
    if (lane.kind === "marks") {
      intervals.forEach(([start, end, modality, score], k) => {
        if (modality !== lane.modality) return;
        const mark = make("div", `span ${modality}`, lane.track), label = make("b", "", mark);
        mark.dataset.interval = k;
        mark.title = describe(k);
        label.textContent = score.toFixed(2);
        spans.push({ mark, label, start, end });
      });
      if (!intervals.some(row => row[2] === lane.modality)) lane.track.title = "None";
    }
    if (lane.kind === "frames") {
      const shots = [...lane.track.querySelectorAll("img"), ...[...document.querySelectorAll("figure[data-time] img")].map(shot => {
        const copy = shot.cloneNode();
        copy.alt = "";
        copy.dataset.time = shot.parentNode.dataset.time;
        lane.track.append(copy);
        return copy;
      })];
      thumbs.push(...shots.map(shot => ({ shot, at: Number(shot.dataset.time), ratio: shot.getAttribute("width") / shot.getAttribute("height") })));
    }
    if (lane.kind === "marks" || lane.kind === "frames") {
      for (const [start, end] of data.gaps[lane.modality]) voids.push({ mark: make("div", "void", lane.track), start, end });
    }
  }
  const position = (mark, start, end) => {
    const left = clamp(place(start), -0.005, 1.005), right = clamp(place(end), -0.005, 1.005);
    mark.hidden = right < 0 || left > 1;
    mark.style.left = `${100 * left}%`;
    mark.style.width = `${100 * (right - left)}%`;
    return right - left;
  };

  /* Drawing */
  function surface(canvas) {
    const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    return [pen, width, height];
  }
  function shade(pen, width, height, lane, where) {
    for (const [start, end, modality] of intervals) {
      if (modality !== lane.modality && modality !== "both") continue;
      const left = where(start) * width, right = where(end) * width;
      if (right < 0 || left > width) continue;
      const over = lane.kind === "spectrogram", wide = Math.max(1, right - left);
      pen.fillStyle = pen.strokeStyle = colour(modality);
      pen.globalAlpha = over ? 1 : 0.16;
      pen.fillRect(left, 0, wide, over ? 5 : height);
      pen.globalAlpha = 1;
      pen.lineWidth = over ? 2 : 1;
      pen.strokeRect(left + 0.5, over ? 1 : -2, wide - 1, over ? height - 2 : height + 4);
      if (!over) continue;
      pen.strokeStyle = colour("surface");
      pen.lineWidth = 1;
      pen.strokeRect(left - 1, 0.5, wide + 2, height - 1);
    }
    if (!data.strongest || lane.kind === "spectrogram") return;
    const [start, end, modality, ink] = data.strongest, left = where(start) * width, right = where(end) * width;
    if ((modality !== lane.modality && modality !== "both") || right < 0 || left > width) return;
    pen.strokeStyle = colour(ink);
    pen.lineWidth = 2;
    pen.setLineDash([3, 3]);
    pen.strokeRect(left, 1, Math.max(2, right - left), height - 2);
    pen.setLineDash([]);
  }
  function hatch(pen, width, height, lane) {
    pen.strokeStyle = colour("hatch");
    pen.lineWidth = 1.5;
    for (const [start, end] of data.gaps[lane.modality]) {
      const left = clamp(place(start), 0, 1) * width, right = clamp(place(end), 0, 1) * width;
      if (right <= left) continue;
      pen.save();
      pen.beginPath();
      pen.rect(left, 0, right - left, height);
      pen.clip();
      pen.beginPath();
      for (let x = left - height; x < right; x += 7) { pen.moveTo(x, height); pen.lineTo(x + height, 0); }
      pen.stroke();
      pen.restore();
    }
  }
  function trace(pen, width, height, curve, start, end, ink) {
    const seconds = step * curve.steps, pad = 3, tall = height - 2 * pad;
    const y = value => pad + tall * (1 - (curve.top > 0 ? value / curve.top : 0));
    const first = (start - data.start_s) / seconds, per = (end - start) / seconds / width;
    pen.strokeStyle = pen.fillStyle = ink;
    pen.lineWidth = 1.5;
    pen.lineJoin = "round";
    pen.beginPath();
    let down = false;
    if (per > 1) {
      for (let x = 0; x < width; x++) {
        let low = Infinity, high = -Infinity;
        const stop = Math.min(curve.points.length, Math.max(Math.floor(first + (x + 1) * per), Math.floor(first + x * per) + 1));
        for (let k = Math.max(0, Math.floor(first + x * per)); k < stop; k++) {
          const value = curve.points[k];
          if (value < low) low = value;
          if (value > high) high = value;
        }
        if (high < low) { down = false; continue; }
        pen[down ? "lineTo" : "moveTo"](x + 0.5, y(high));
        pen.lineTo(x + 0.5, y(low) + 0.01);
        down = true;
      }
      pen.stroke();
      return;
    }
    const from = Math.max(0, Math.floor(first) - 1), to = Math.min(curve.points.length, Math.ceil(first + width * per) + 2);
    for (let k = from; k < to; k++) {
      const value = curve.points[k];
      if (Number.isNaN(value)) { down = false; continue; }
      const x = (k + 0.5 - first) / per;
      if (!down) pen.moveTo(x - 0.3, y(value));
      pen.lineTo(x, y(value));
      down = true;
      if (per < 0.12) pen.rect(x - 1.5, y(value) - 1.5, 3, 3), pen.moveTo(x, y(value));
    }
    pen.stroke();
  }
  function ticks() {
    const [pen, width, height] = surface(ruler), wanted = length() / Math.max(1, width / 95);
    const every = [0.04, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400].find(t => t >= wanted) || 28800;
    pen.fillStyle = colour("muted");
    pen.strokeStyle = colour("strong-line");
    pen.font = `11px ${colour("mono")}`;
    for (let k = Math.ceil(view.start / every - 1e-6); k * every <= view.end + 1e-6; k++) {
      const x = place(k * every) * width, full = timecode(k * every);
      const text = (span >= 3600 ? full : full.slice(3)).slice(0, every < 1 ? undefined : -4);
      pen.beginPath();
      pen.moveTo(x, height - 14);
      pen.lineTo(x, height);
      pen.stroke();
      const right = x + 4 + pen.measureText(text).width > width;
      pen.textAlign = right ? "right" : "left";
      pen.fillText(text, x + (right ? -4 : 4), height - 6);
    }
  }
  function draw() {
    dirty = false;
    inks.clear();
    /* All sizes are read before anything moves: a size read after a change costs a layout. */
    const across = rulerTrack.clientWidth, tall = thumbs.length ? thumbs[0].shot.parentNode.clientHeight : 0;
    ticks();
    for (const lane of lanes) {
      if (!lane.canvas) continue;
      const [pen, width, height] = surface(lane.canvas);
      if (lane.kind === "spectrogram") {
        pen.imageSmoothingEnabled = false;
        if (image.naturalWidth) pen.drawImage(image, image.naturalWidth * view.start / span, 0, image.naturalWidth * length() / span, image.naturalHeight, 0, 0, width, height);
        shade(pen, width, height, lane, place);
        hatch(pen, width, height, lane);
        continue;
      }
      const curve = curves[lane.name];
      shade(pen, width, height, lane, place);
      hatch(pen, width, height, lane);
      pen.setLineDash([4, 4]);
      pen.lineWidth = 1;
      pen.strokeStyle = colour("strong-line");
      for (const line of lane.track.querySelectorAll(".threshold")) {
        const y = 3 + (height - 6) * line.y1.baseVal.value / 100;
        pen.beginPath();
        pen.moveTo(0, y);
        pen.lineTo(width, y);
        pen.stroke();
      }
      pen.setLineDash([]);
      if (curve) trace(pen, width, height, curve, view.start, view.end, colour(lane.modality));
    }
    drawMap();
    for (const { mark, label, start, end } of spans) label.hidden = position(mark, start, end) * across < 40;
    for (const { mark, start, end } of voids) position(mark, start, end);
    const taken = [];
    for (const { shot, at, ratio } of thumbs) {
      const wide = tall * ratio, left = place(at) * across - wide / 2;
      shot.hidden = left + wide < 0 || left > across || taken.some(other => Math.abs(left - other) < wide + 1);
      shot.style.left = `${left}px`;
      if (!shot.hidden) taken.push(left);
    }
    drawPlayhead();
  }
  function drawMap() {
    const [pen, width, height] = surface(map), whole = t => t / span;
    for (const modality of ["visual", "audio", "both"]) shade(pen, width, height, { modality, kind: "map" }, whole);
    const name = ["joint", "visual", "audio"].find(each => curves[each]);
    if (name) trace(pen, width, height, curves[name], 0, span, colour("muted"));
    frame.style.left = `${100 * view.start / span}%`;
    frame.style.width = `${100 * length() / span}%`;
    attributes(minimap, { "aria-valuemax": Math.max(0, span - length()).toFixed(3), "aria-valuenow": view.start.toFixed(3), "aria-valuetext": `${timecode(view.start)} to ${timecode(view.end)}` });
    attributes(timeline, { "data-view-start": view.start, "data-view-end": view.end });
    $("zoom-out").disabled = $("zoom-reset").disabled = length() >= span;
    $("zoom-in").disabled = length() <= NARROWEST;
  }
  /* Faces: a box on the player around whom the interval that plays is about. */
  const faces = player ? make("div", "", player.parentNode) : null, marks = new Map();
  if (faces) faces.id = "faces";
  function boxAt(runs, t) {
    for (const run of runs || []) {
      if (t < run[0][0] - step || t > run[run.length - 1][0] + step) continue;
      const next = run.findIndex(at => at[0] >= t);
      if (next <= 0) return run[next < 0 ? run.length - 1 : 0].slice(1);
      const before = run[next - 1], after = run[next], share = (t - before[0]) / (after[0] - before[0]);
      return before.slice(1).map((value, k) => value + share * (after[k + 1] - value));
    }
    return null;
  }
  function drawFaces() {
    if (!faces) return;
    const meant = new Map(), marked = intervals.map(([start, end, modality], k) => [start, end, modality, data.people[k]]);
    if (data.strongest) marked.push([...data.strongest.slice(0, 3), data.strongest[4]]);
    for (const [start, end, modality, person] of marked) if (person && start <= time && time < end) meant.set(person, modality);
    const { videoWidth, videoHeight, clientWidth, clientHeight } = player;
    const scale = Math.min(clientWidth / videoWidth, clientHeight / videoHeight), wide = videoWidth * scale, tall = videoHeight * scale;
    const left = player.offsetLeft + (clientWidth - wide) / 2, top = player.offsetTop + (clientHeight - tall) / 2;
    for (const person of marks.keys()) if (!meant.has(person)) { marks.get(person).remove(); marks.delete(person); }
    for (const [person, modality] of meant) {
      /* A step is shown from its beginning, and its box is that of its middle. */
      const box = player.hidden || !videoWidth ? null : boxAt(data.boxes[person], time + step / 2);
      if (!box) { marks.get(person)?.remove(); marks.delete(person); continue; }
      if (!marks.has(person)) {
        const made = make("div", "", faces);
        made.dataset.person = person;
        if (data.several) make("span", "", made).textContent = `person ${person}`;
        marks.set(person, made);
      }
      const mark = marks.get(person);
      mark.className = modality;
      Object.assign(mark.style, { left: `${left + box[0] * wide}px`, top: `${top + box[1] * tall}px`, width: `${box[2] * wide}px`, height: `${box[3] * tall}px` });
    }
  }
  function drawPlayhead() {
    drawFaces();
    const at = place(time);
    playhead.style.visibility = at < -0.0001 || at > 1.0001 ? "hidden" : "visible";
    playhead.style.left = `${100 * at}%`;
    attributes(playhead, { "aria-valuenow": time.toFixed(3), "aria-valuetext": timecode(time) });
    timeline.dataset.time = time.toFixed(3);
    $("time").textContent = timecode(time);
    read(time);
    const inside = intervals.findIndex(([start, end]) => start <= time && time < end);
    if (inside !== drawPlayhead.inside) {
      drawPlayhead.inside = inside;
      document.querySelectorAll("[data-current]").forEach(element => delete element.dataset.current);
      if (inside >= 0) document.querySelectorAll(`[data-interval="${inside}"], #intervals tr:nth-child(${inside + 1})[data-start]`).forEach(element => { element.dataset.current = ""; });
    }
  }
  function read(t) {
    const values = lanes.filter(lane => curves[lane.name]).map(lane => {
      const curve = curves[lane.name], value = curve.points[pointAt(curve, t)];
      return `${lane.track.parentNode.querySelector(".label").firstChild.textContent.trim().toLowerCase()} ${value === undefined || Number.isNaN(value) ? "none" : value.toFixed(2)}`;
    });
    $("readout").textContent = `${timecode(t)}: ${values.join(", ")}`;
  }
  const redraw = () => { if (!dirty) { dirty = true; requestAnimationFrame(draw); } };

  /* View */
  function look(start, end) {
    const wide = clamp(end - start, NARROWEST, span);
    view.start = clamp(start, 0, span - wide);
    view.end = view.start + wide;
    redraw();
  }
  const zoom = (factor, at) => {
    const wide = clamp(length() * factor, NARROWEST, span), share = (at - view.start) / length();
    look(at - share * wide, at - share * wide + wide);
  };
  const pan = seconds => look(view.start + seconds, view.end + seconds);
  const focus = () => time >= view.start && time <= view.end ? time : (view.start + view.end) / 2;
  const zoomButton = factor => { zoom(factor, focus()); say(`View ${timecode(view.start)} to ${timecode(view.end)}`); };
  const reset = () => { look(0, span); say("View of the whole clip"); };
  const reveal = t => { if (t < view.start || t > view.end) look(t - 0.1 * length(), t + 0.9 * length()); };

  /* Player */
  const playable = () => player && !player.hidden;
  function seek(t, announce = true) {
    time = clamp(t, 0, span);
    playing = null;
    /* A hair later, so that rounding never shows the picture before. */
    if (playable()) player.currentTime = time + 0.0005;
    reveal(time);
    drawPlayhead();
    if (announce) say(`At ${timecode(time)}`);
  }
  function toggle() {
    if (!playable()) return say("There is no clip to play in this report");
    if (player.paused) { player.play().catch(() => {}); } else player.pause();
  }
  function playInterval(k) {
    const [start, end] = intervals[k];
    seek(start, false);
    say(describe(k));
    if (!playable()) return;
    const now = playing = { start, end };
    /* Its first picture is seen before playback goes on. */
    const play = () => { if (playing === now) player.play().catch(() => {}); };
    if (player.seeking && player.readyState > 0) player.addEventListener("seeked", play, { once: true });
    else play();
  }
  function hop(direction) {
    if (!intervals.length) return say("There are no intervals");
    const starts = intervals.map(row => row[0]);
    let k = direction > 0 ? starts.findIndex(s => s > time + 0.002) : starts.findLastIndex(s => s < time - 0.002);
    if (k < 0) k = direction > 0 ? starts.length - 1 : 0;
    seek(starts[k], false);
    say(describe(k));
  }
  function follow() {
    if (player.paused) return;
    time = clamp(player.currentTime, 0, span);
    if (playing && !player.seeking && time >= playing.end) {
      player.pause();
      player.currentTime = time = playing.end;
      playing = null;
    }
    reveal(time);
    drawPlayhead();
    requestAnimationFrame(follow);
  }
  function unplayable() {
    player.hidden = true;
    player.parentNode.hidden = true;
    $("no-player").hidden = false;
    $("play").disabled = true;
  }
  if (player) {
    const last = player.lastElementChild;
    last.addEventListener("error", unplayable);
    player.addEventListener("error", unplayable);
    /* The error may have come before this script. */
    window.addEventListener("load", () => { if (player.networkState === HTMLMediaElement.NETWORK_NO_SOURCE) unplayable(); });
    const loaded = () => {
      $("preview-note").hidden = !(last.hasAttribute("data-preview") && player.currentSrc.startsWith("data:"));
      if (time > 0) player.currentTime = time + 0.0005;
      drawFaces();
    };
    player.addEventListener("loadedmetadata", loaded);
    /* So may the metadata, above all those of a preview inside the page. */
    if (player.readyState >= HTMLMediaElement.HAVE_METADATA) loaded();
    player.addEventListener("play", () => { $("play").textContent = "Pause"; requestAnimationFrame(follow); });
    player.addEventListener("pause", () => { $("play").textContent = "Play"; });
    /* The player's own controls seek too; whoever leaves an interval is not brought back to its end. */
    player.addEventListener("seeking", () => {
      if (playing && (player.currentTime < playing.start - 0.05 || player.currentTime > playing.end + 0.05)) playing = null;
    });
    player.addEventListener("seeked", () => {
      if (Math.abs(player.currentTime - time) > 0.002) { time = clamp(player.currentTime, 0, span); reveal(time); drawPlayhead(); }
    });
  } else $("play").disabled = true;

  /* Pointer: click seeks, drag pans, two fingers zoom; the ruler scrubs. */
  const surfaceLeft = () => rulerTrack.getBoundingClientRect();
  const timeAt = event => { const box = surfaceLeft(); return view.start + clamp((event.clientX - box.left) / box.width, 0, 1) * length(); };
  const pointers = new Map();
  let drag = null;
  timeline.addEventListener("pointerdown", event => {
    if (event.button !== 0 || !event.target.closest(".track")) return;
    pointers.set(event.pointerId, event.clientX);
    drag = { from: event.clientX, start: view.start, end: view.end, moved: false, scrub: rulerLane.contains(event.target), mark: event.target.closest("[data-interval]") };
    if (drag.scrub) seek(timeAt(event), false);
  });
  window.addEventListener("pointermove", event => {
    if (!pointers.has(event.pointerId)) {
      const inside = event.target instanceof Element && event.target.closest("#timeline .track");
      return inside ? read(timeAt(event)) : undefined;
    }
    const others = [...pointers].filter(([id]) => id !== event.pointerId), before = pointers.get(event.pointerId);
    pointers.set(event.pointerId, event.clientX);
    if (others.length) {
      const was = Math.abs(before - others[0][1]), is = Math.abs(event.clientX - others[0][1]);
      drag.moved = true;
      if (was > 8 && is > 8) zoom(was / is, timeAt({ clientX: (event.clientX + others[0][1]) / 2 }));
      return;
    }
    if (drag.scrub) return seek(timeAt(event), false);
    const shift = event.clientX - drag.from;
    if (Math.abs(shift) > 4) drag.moved = true;
    if (drag.moved) look(drag.start - shift / surfaceLeft().width * (drag.end - drag.start), drag.end - shift / surfaceLeft().width * (drag.end - drag.start));
  });
  window.addEventListener("pointerup", event => {
    if (!pointers.delete(event.pointerId) || drag.moved) return;
    if (drag.scrub) return say(`At ${timecode(time)}`);
    if (drag.mark) playInterval(Number(drag.mark.dataset.interval));
    else seek(timeAt(event));
  });
  window.addEventListener("pointercancel", event => pointers.delete(event.pointerId));
  timeline.addEventListener("pointerleave", () => read(time));
  timeline.addEventListener("wheel", event => {
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.ctrlKey || event.metaKey || (!event.shiftKey && Math.abs(event.deltaY) > Math.abs(event.deltaX) && timeline.contains(document.activeElement))) {
      if (event.deltaY > 0 && length() >= span && !event.ctrlKey) return;
      event.preventDefault();
      zoom(Math.exp(clamp(event.deltaY, -120, 120) * (event.ctrlKey ? 0.006 : 0.003)), timeAt(event));
    } else if (sideways && length() < span) {
      event.preventDefault();
      pan(sideways / surfaceLeft().width * length());
    }
  }, { passive: false });
  let hold = null;
  minimap.addEventListener("pointerdown", event => {
    const box = minimap.getBoundingClientRect(), t = (event.clientX - box.left) / box.width * span;
    if (t < view.start || t > view.end) look(t - length() / 2, t + length() / 2);
    hold = { from: event.clientX, start: view.start, width: box.width };
    minimap.setPointerCapture(event.pointerId);
  });
  minimap.addEventListener("pointermove", event => {
    if (hold) { const start = hold.start + (event.clientX - hold.from) / hold.width * span; look(start, start + length()); }
  });
  for (const end of ["pointerup", "pointercancel"]) minimap.addEventListener(end, () => { hold = null; });
  minimap.addEventListener("keydown", event => {
    const move = { ArrowLeft: -0.2, ArrowRight: 0.2, PageUp: -1, PageDown: 1, Home: -Infinity, End: Infinity }[event.key];
    if (move === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (Number.isFinite(move)) pan(move * length());
    else look(move < 0 ? 0 : span - length(), move < 0 ? length() : span);
  });

  /* Keys; form controls, the player's own controls and combinations with ctrl, alt or meta keep theirs. */
  const stepTo = direction => seek((Math.round(time / step) + direction) * step);
  const KEYS = {
    " ": toggle, ArrowLeft: event => event.shiftKey ? seek(time - 1) : stepTo(-1), ArrowRight: event => event.shiftKey ? seek(time + 1) : stepTo(1),
    "[": () => hop(-1), "]": () => hop(1), Home: () => seek(0), End: () => seek(span),
    "+": () => zoomButton(0.5), "=": () => zoomButton(0.5), "-": () => zoomButton(2), 0: reset,
    "?": () => { $("keys").open = !$("keys").open; if ($("keys").open) $("keys").querySelector("summary").focus(); },
  };
  document.addEventListener("keydown", event => {
    const target = event.target, action = KEYS[event.key];
    if (!action || event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || !$("shortcuts").checked) return;
    if (target.closest("input, select, textarea, video, [contenteditable]")) return;
    if (event.key === " " && target.closest("button, summary, a")) return;
    if (/^(Arrow|Home|End)/.test(event.key) && target.closest(".scroll")) return;
    event.preventDefault();
    action(event);
  });

  /* Buttons */
  $("play").addEventListener("click", toggle);
  $("previous").addEventListener("click", () => hop(-1));
  $("next").addEventListener("click", () => hop(1));
  $("zoom-in").addEventListener("click", () => zoomButton(0.5));
  $("zoom-out").addEventListener("click", () => zoomButton(2));
  $("zoom-reset").addEventListener("click", reset);
  $("previous").disabled = $("next").disabled = !intervals.length;
  document.querySelectorAll("#intervals tr[data-start]").forEach((row, k) => {
    const button = make("button", "", row.querySelector(".act"));
    button.type = "button";
    button.dataset.play = k;
    button.textContent = player ? "Play" : "Show";
    button.setAttribute("aria-label", `${button.textContent} interval ${k + 1}`);
  });
  $("intervals")?.addEventListener("click", event => {
    const row = event.target.closest("tr[data-start]");
    if (row && !String(getSelection())) playInterval(row.rowIndex - 1);
  });
  document.querySelectorAll("figure[data-time] img").forEach(shot => shot.addEventListener("click", () => seek(Number(shot.parentNode.dataset.time))));

  /* Begin */
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", redraw);
  new ResizeObserver(redraw).observe(timeline);
  let before = null;
  window.addEventListener("beforeprint", () => { before = { ...view }; look(0, span); });
  window.addEventListener("afterprint", () => { if (before) look(before.start, before.end); });
  async function begin() {
    for (const [name, curve] of Object.entries(data.curves)) curves[name] = await unpack(curve);
    if (image) await image.decode().catch(() => {});
    for (const id of ["controls", "readout", "keys"]) $(id).hidden = false;
    root.dataset.live = "";
    draw();
    root.dataset.ready = "";
  }
  if (span > 0) begin();
})();
