"use strict";
// Uploads one after the other, and a list that asks the server how far each analysis is.

const list = document.getElementById("list");
const none = document.getElementById("none");
const more = document.getElementById("more");
const message = document.getElementById("message");
const drop = document.getElementById("drop");
const choose = document.getElementById("choose");

const rows = new Map();
const waiting = [];
const notices = [];
let sending = false;
let shown = 50;
let timer = 0;

const WORDS = { queued: "waiting", running: "running" };

function say(text) {
  message.textContent = text;
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

function button(text, label, act) {
  const made = element("button", "", text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

async function ask(method, path) {
  const answer = await fetch(path, { method, headers: { Accept: "application/json" } });
  const plain = { detail: `the server answered with status ${answer.status}` };
  const body = answer.status === 204 ? {} : await answer.json().catch(() => plain);
  if (!answer.ok) throw new Error([body.detail, body.fix].filter(Boolean).join("; "));
  return body;
}

async function act(method, path) {
  try {
    await ask(method, path);
    say("");
  } catch (error) {
    say(error.message);
  }
  refresh();
}

function sentence(job) {
  if (job.state === "done") return job.outcome;
  if (job.state === "failed") return job.fix ? `${job.error}; ${job.fix}` : job.error;
  const share = job.total ? ` ${Math.floor((100 * (job.completed || 0)) / job.total)} %` : "";
  return job.state === "running" && job.step ? `${job.step}${share}` : WORDS[job.state];
}

function draw(job) {
  const key = JSON.stringify(job);
  let row = rows.get(job.id);
  if (!row) {
    row = document.createElement("li");
    rows.set(job.id, row);
  }
  if (row.dataset.key === key) return row;
  const focused = row.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  row.dataset.key = key;
  row.dataset.state = job.state;
  row.dataset.verdict = job.verdict;
  const acts = element("div", "acts", "");
  if (job.state === "done") {
    const open = element("a", "open", "Open report");
    open.href = job.files.html;
    open.setAttribute("aria-label", `Open the report on ${job.name}`);
    acts.append(open);
  }
  if (job.state === "queued" || job.state === "running") {
    acts.append(button("Cancel", `Cancel ${job.name}`, () => act("POST", `/analyses/${job.id}/cancel`)));
  } else {
    acts.append(button("Delete", `Delete ${job.name}`, () => act("DELETE", `/analyses/${job.id}`)));
  }
  row.replaceChildren(element("span", "name", job.name), acts, element("span", "said", sentence(job)));
  if (job.state === "running") {
    const bar = element("progress", "", "");
    bar.setAttribute("aria-label", `Progress of ${job.name}`);
    if (job.total) {
      bar.max = job.total;
      bar.value = job.completed || 0;
    }
    row.append(bar);
  }
  if (focused) {
    const again = [...row.querySelectorAll("[aria-label]")].find((each) => each.getAttribute("aria-label") === focused);
    if (again) again.focus();
  }
  return row;
}

async function newest() {
  // The server gives at most 500 at a time.
  const found = [];
  for (;;) {
    const limit = Math.min(500, shown - found.length);
    const { analyses, count } = await ask("GET", `/analyses?limit=${limit}&offset=${found.length}`);
    found.push(...analyses);
    if (analyses.length < limit || found.length >= shown) return { analyses: found, count };
  }
}

async function refresh() {
  clearTimeout(timer);
  let busy = true;
  try {
    const { analyses, count } = await newest();
    const kept = new Set(analyses.map((job) => job.id));
    for (const [id, row] of rows) {
      if (!kept.has(id)) {
        row.remove();
        rows.delete(id);
      }
    }
    analyses.forEach((job, place) => {
      const row = draw(job);
      if (list.children[place] !== row) list.insertBefore(row, list.children[place] || null);
    });
    none.hidden = count > 0;
    more.hidden = count <= analyses.length;
    busy = analyses.some((job) => job.state === "queued" || job.state === "running");
    if (message.dataset.lost) {
      delete message.dataset.lost;
      say("");
    }
  } catch (error) {
    message.dataset.lost = "yes";
    const gone = error instanceof TypeError; // what fetch throws without an answer
    say(gone ? "The server does not answer. Is `pipeline serve` still running?" : error.message);
  }
  timer = setTimeout(refresh, busy ? 500 : 4000);
}

function send(file) {
  return new Promise((done) => {
    const form = new FormData();
    form.append("file", file, file.name);
    const request = new XMLHttpRequest();
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) say(`Uploading ${file.name}: ${Math.floor((100 * event.loaded) / event.total)} %`);
    });
    request.addEventListener("loadend", () => {
      let body = {};
      try {
        body = JSON.parse(request.responseText);
      } catch (error) {
        body = { detail: "the upload was cut off" };
      }
      if (request.status !== 202) {
        const why = [body.detail, body.fix].filter((each) => typeof each === "string" && each).join("; ");
        notices.push(`${file.name}: ${why}`);
      }
      done();
    });
    request.open("POST", "/analyses");
    request.send(form);
  });
}

async function upload(files) {
  waiting.push(...files);
  if (sending) return;
  sending = true;
  notices.length = 0;
  while (waiting.length) {
    await send(waiting.shift());
    say(notices.join("\n"));
    refresh();
  }
  sending = false;
}

choose.addEventListener("change", () => {
  upload([...choose.files]);
  choose.value = "";
});
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  upload([...event.dataTransfer.files]);
});
// A file that misses the field must not replace the page, and with it an upload that is under way.
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
drop.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", () => {
  shown += 100;
  refresh();
});
refresh();
