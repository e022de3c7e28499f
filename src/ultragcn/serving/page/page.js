// The page of `ultragcn serve`: pick items, see a list at once, see why, change it.
//
// What is picked stands in the part of the address behind "#", so that it can be shared and does not reach the log of a server. Ids are kept
// as text: the server finds a number by its text. Text that comes from data is only ever set as textContent.

const TEXTS = {
  en: {
    title: "What would you like next?",
    lead: "Pick a few things you like. The list changes at once and says why.",
    leadUsers: "Look up a user to see what this model recommends.",
    skip: "Skip to the list",
    language: "Language",
    choices: "Your choices",
    search: "Find something you like",
    searchHint: "Part of a name",
    found: "Items found",
    numFound: (n) => (n === 1 ? "1 item found" : `${number(n)} items found`),
    nothing: (words) => `No item has “${words}” in its name.`,
    chosen: (n) => (n === 1 ? "1 choice" : `${number(n)} choices`),
    has: (user, n) => (n === 1 ? `${user} has 1 item` : `${user} has ${number(n)} items`),
    clear: "Start over",
    all: (n) => `Show all ${number(n)}`,
    fewer: "Show fewer",
    remove: (title) => `Remove ${title}`,
    removed: (title) => `${title} removed.`,
    add: "Add",
    addItem: (title) => `Add ${title}`,
    added: (title) => `${title} added.`,
    isChosen: (title) => `${title}, already in your choices`,
    like: "More like this",
    likeItem: (title) => `More like this: ${title}`,
    likeHeading: (title) => `More like ${title}`,
    noneLike: "The model knows no item like this one.",
    because: "Because you chose",
    becauseHas: (user) => `Because ${user} has`,
    users: (n) => (n === 1 ? "1 user has it" : `${number(n)} users have it`),
    popular: "Popular items",
    popularAbout: "What most users have. Add something to begin.",
    popularOnly: "What most users have.",
    forYou: "Recommended for you",
    forUser: (user) => `Recommended for ${user}`,
    fromChanged: (n) => `${text.numListed(n)}, with your changes`,
    numListed: (n) => (n === 1 ? "1 recommendation" : `${number(n)} recommendations`),
    numPopular: (n) => (n === 1 ? "1 popular item" : `${number(n)} popular items`),
    empty: "There is nothing left to recommend.",
    more: "Show more",
    diversity: "Variety",
    diversityIs: (value) => (value ? `${Math.round(value * 100)}%` : "off"),
    diversityHint: "Without variety the best matches come first. With more variety the items differ more from each other.",
    lookUp: "Look up a user",
    user: "User id",
    userHint: "As it stands in the data.",
    example: (user) => `Try ${user}`,
    show: "Show",
    key: "Key of this server",
    keyHint: "This server answers only with its key. It is kept until you close this tab.",
    keyUse: "Use key",
    keyWrong: "The server did not take this key. Check it and try again.",
    again: "Try again",
    network: "The server cannot be reached. Check that it runs, then try again.",
    busy: (seconds) => `The server is busy. This page tries again in ${seconds} s.`,
    preparing: (seconds) => `The server is getting ready. This page tries again in ${seconds} s.`,
    stillBusy: "The server is still busy. Try again a little later.",
    unknownUser: (user) => `The model does not know user “${user}”.`,
    unknownItems: (n) => (n === 1 ? "The model does not know one of these items, so the item was left out." : `The model does not know ${number(n)} of these items, so they were left out.`),
    refused: (why) => ["The server could not answer this: ", why],
    fault: "Something went wrong in the server. Try again.",
    model: (about) => `${about.model} · ${number(about.users)} users · ${number(about.items)} items · ultragcn ${about.version}`,
  },
  ko: {
    title: "다음엔 무엇이 좋을까요?",
    lead: "마음에 드는 것을 몇 개 골라 보세요. 목록이 바로 바뀌고, 왜 추천하는지도 보여 줍니다.",
    leadUsers: "사용자를 찾으면 이 모델이 무엇을 추천하는지 보여 줍니다.",
    skip: "목록으로 건너뛰기",
    language: "언어",
    choices: "고른 것",
    search: "마음에 드는 것 찾기",
    searchHint: "이름의 일부",
    found: "찾은 것",
    numFound: (n) => `${number(n)}개를 찾았습니다`,
    nothing: (words) => `이름에 다음이 들어간 것이 없습니다: “${words}”`,
    chosen: (n) => `고른 것 ${number(n)}개`,
    has: (user, n) => `${user} 님이 이용한 것 ${number(n)}개`,
    clear: "처음부터",
    all: (n) => `${number(n)}개 모두 보기`,
    fewer: "줄여 보기",
    remove: (title) => `${title} 빼기`,
    removed: (title) => `뺐습니다: ${title}.`,
    add: "담기",
    addItem: (title) => `${title} 담기`,
    added: (title) => `담았습니다: ${title}.`,
    isChosen: (title) => `${title}, 이미 고름`,
    like: "비슷한 것",
    likeItem: (title) => `비슷한 것: ${title}`,
    likeHeading: (title) => `비슷한 것: ${title}`,
    noneLike: "모델이 아는 비슷한 것이 없습니다.",
    because: "추천 이유",
    becauseHas: () => "추천 이유",
    users: (n) => `${number(n)}명이 이용했습니다`,
    popular: "인기 있는 것",
    popularAbout: "가장 많은 사람이 이용한 것입니다. 하나를 담아 시작해 보세요.",
    popularOnly: "가장 많은 사람이 이용한 것입니다.",
    forYou: "추천 목록",
    forUser: (user) => `${user} 님을 위한 추천`,
    fromChanged: (n) => `${text.numListed(n)} (방금 바꾼 것을 반영)`,
    numListed: (n) => `추천 ${number(n)}개`,
    numPopular: (n) => `인기 있는 것 ${number(n)}개`,
    empty: "더 추천할 것이 없습니다.",
    more: "더 보기",
    diversity: "다양하게",
    diversityIs: (value) => (value ? `${Math.round(value * 100)}%` : "끔"),
    diversityHint: "끄면 가장 잘 맞는 것부터 보여 줍니다. 높이면 서로 더 다른 것을 보여 줍니다.",
    lookUp: "사용자 찾기",
    user: "사용자 id",
    userHint: "데이터에 적힌 그대로 씁니다.",
    example: (user) => `예: ${user}`,
    show: "보기",
    key: "이 서버의 키",
    keyHint: "이 서버는 키가 있어야 답합니다. 키는 이 탭을 닫을 때까지만 보관합니다.",
    keyUse: "키 쓰기",
    keyWrong: "서버가 이 키를 받아들이지 않았습니다. 확인하고 다시 시도해 주세요.",
    again: "다시 시도",
    network: "서버에 연결할 수 없습니다. 서버가 실행 중인지 확인하고 다시 시도해 주세요.",
    busy: (seconds) => `서버가 바쁩니다. ${seconds}초 뒤에 다시 시도합니다.`,
    preparing: (seconds) => `서버가 준비하고 있습니다. ${seconds}초 뒤에 다시 시도합니다.`,
    stillBusy: "서버가 아직 바쁩니다. 잠시 뒤에 다시 시도해 주세요.",
    unknownUser: (user) => `모델이 모르는 사용자입니다: “${user}”`,
    unknownItems: (n) => `모델이 모르는 것 ${number(n)}개를 뺐습니다.`,
    refused: (why) => ["서버가 답하지 못했습니다: ", why],
    fault: "서버에 문제가 생겼습니다. 다시 시도해 주세요.",
    model: (about) => `${about.model} · 사용자 ${number(about.users)}명 · 항목 ${number(about.items)}개 · ultragcn ${about.version}`,
  },
};

const STEP = 12; // recommendations at first, and those that "show more" adds
const MOST = 60;
const LIKE = 8; // similar items that are shown
const FOUND = 8; // items that a search shows
const CHIPS = 6; // choices that are shown before "show all"
const MOST_IDS = 1000; // ids that the server takes in one list
const TITLES_AT_ONCE = 100; // ids in one address
const GRACE = 300; // ms that an answer nobody waits for may hold up the next question
const TIMEOUT = 20000; // ms
const TRIES = 5; // of a question that a busy server refuses
const PREPARING = 60; // tries while the server gets ready: it then gives more than a second to wait
const COLUMNS = 4; // of the items table that are shown
const NONE = Object.freeze([]);
const KEY = "ultragcn-key";

const at = (id) => document.getElementById(id);
let text = TEXTS.en;
let about = null; // GET /model
let notice = null; // what the notice says, made anew in another language
const state = { items: [], user: null, without: [], diversity: 0, count: STEP, like: null, language: null };
let ofUser = []; // what the user of `state` has
let shown = null; // the list on the page: items, and whether they are popular ones
let similar = null; // what is like `state.like`
let showsAll = false; // all that a user has, not the first few
let found = []; // items of the search
let active = -1; // the place of the item that Enter takes
const titles = new Map(); // of items, by id

const number = (n) => n.toLocaleString(document.documentElement.lang);
const can = (ability) => about !== null && about.abilities.includes(ability);
const titleOf = (item) => titles.get(item) || item;

// ------------------------------------------------------------------- asking

// One question at a time: a server that computes in one thread answers no faster when it is asked twice at once, and refuses what waits too
// long. Of each name only the newest question counts. The answer to an older one is dropped, and given up where it holds up the others.
const newest = new Map();
let turn = Promise.resolve();

async function ask(name, path, body) {
  forget(name);
  const question = { controller: new AbortController() };
  const counts = () => newest.get(name) === question;
  newest.set(name, question);
  for (let tries = 1; ; tries += 1) {
    const mine = turn.then(() => (counts() ? answerTo(question, path, body) : null));
    turn = mine;
    const answer = await mine;
    if (!counts()) return null;
    if (answer.status === 200 && notice !== null && !notice.stays) say(null);
    const isPreparing = answer.seconds > 1;
    if (answer.status !== 503 || tries >= (isPreparing ? PREPARING : TRIES)) return answer;
    say(() => (isPreparing ? text.preparing : text.busy)(answer.seconds));
    await new Promise((resolve) => setTimeout(resolve, answer.seconds * 1000));
    if (!counts()) return null;
  }
}

function forget(name) {
  const old = newest.get(name);
  newest.delete(name);
  if (old) setTimeout(() => old.controller.abort(), GRACE);
}

async function answerTo(question, path, body) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  const options = { headers, signal: question.controller.signal };
  if (body) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  const timer = setTimeout(() => question.controller.abort(), TIMEOUT);
  try {
    const response = await fetch(path, options);
    const seconds = Math.max(1, Number(response.headers.get("Retry-After")) || 1);
    return { ...JSON.parse(await response.text(), exactly), status: response.status, seconds };
  } catch {
    return { status: 0 };
  } finally {
    clearTimeout(timer);
  }
}

// A whole number beyond 2^53 is kept as it was sent.
function exactly(_, value, context) {
  const isInexact = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  return isInexact && context ? context.source : value;
}

const address = (path, pairs) => {
  const parameters = new URLSearchParams(pairs).toString();
  return parameters ? `${path}?${parameters}` : path;
};

function withTitles(rows) {
  return rows.map((row) => {
    const item = String(row.item);
    if (row.title) titles.set(item, row.title);
    return { ...row, item, because: row.because ? withTitles(row.because) : NONE };
  });
}

// Say why there is no answer. `again` is what "Try again" does; `unknown` is the sentence for an id that the model does not know.
function complain(answer, again, unknown) {
  if (answer.status === 401) {
    const wasGiven = sessionStorage.getItem(KEY) !== null;
    sessionStorage.removeItem(KEY);
    at("key-form").hidden = false;
    at("columns").hidden = true;
    say(wasGiven ? () => text.keyWrong : null);
    at("key").value = "";
    at("key").focus();
  } else if (answer.status === 404 && unknown) {
    say(unknown, { stays: true });
  } else if (answer.status === 0) {
    say(() => text.network, { again });
  } else if (answer.status === 503) {
    say(() => text.stillBusy, { again });
  } else if (answer.status >= 500) {
    say(() => text.fault, { again });
  } else {
    say(() => text.refused(answer.error || String(answer.status)), { stays: true });
  }
}

// A notice goes with the next answer, or, if it stays, with the next thing that somebody does.
function say(sentence, { again = null, stays = false } = {}) {
  notice = sentence ? { sentence, again, stays } : null;
  showNotice();
}

function showNotice() {
  at("notice").hidden = notice === null;
  at("again").hidden = !notice?.again;
  const words = notice === null ? "" : notice.sentence();
  if (Array.isArray(words)) at("notice-text").replaceChildren(words[0], make("span", { lang: "en", text: words[1] }));
  else if (at("notice-text").textContent !== words) at("notice-text").textContent = words;
}

// For screen readers. The same words twice are said twice.
function tell(words) {
  const status = at("status");
  status.textContent = status.textContent === words ? `${words}\u00a0` : words;
}

// --------------------------------------------------------- what was chosen

function chosen() {
  if (state.user === null) return state.items;
  const without = new Set(state.without);
  return [...new Set([...state.items, ...ofUser])].filter((item) => !without.has(item));
}

function add(item) {
  if (chosen().includes(item)) return;
  if (state.without.includes(item)) state.without = state.without.filter((one) => one !== item);
  else state.items = [...state.items, item];
  changed(text.added(titleOf(item)));
}

function remove(item) {
  if (!chosen().includes(item)) return;
  state.items = state.items.filter((one) => one !== item);
  if (ofUser.includes(item)) state.without = [...state.without, item];
  changed(text.removed(titleOf(item)));
}

function clear() {
  Object.assign(state, { items: NONE, user: null, without: NONE, like: null });
  ofUser = NONE;
  showsAll = false;
  at("user").value = "";
  changed("");
}

function changed(words) {
  state.count = STEP;
  say(null);
  remember();
  showChoices();
  update(words);
}

// Write the state into the address.
function remember(how = "pushState") {
  const pairs = [
    ...(state.user === null ? NONE : [["user", state.user]]),
    ...state.items.map((item) => ["item", item]),
    ...state.without.map((item) => ["without", item]),
    ...(state.diversity ? [["diversity", String(state.diversity)]] : NONE),
    ...(state.count === STEP ? NONE : [["count", String(state.count)]]),
    ...(state.like === null ? NONE : [["like", state.like]]),
    ...(state.language === null ? NONE : [["language", state.language]]),
  ];
  const hash = pairs.length ? `#${new URLSearchParams(pairs)}` : "";
  if (hash !== location.hash) window.history[how](null, "", location.pathname + location.search + hash);
}

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const between = (name, least, most, otherwise) => {
    const value = Number(given.get(name));
    return given.has(name) && value >= least && value <= most ? value : otherwise;
  };
  const language = given.get("language");
  Object.assign(state, {
    items: [...new Set(given.getAll("item"))].slice(0, MOST_IDS),
    user: given.get("user") || null,
    without: given.has("user") ? [...new Set(given.getAll("without"))] : NONE,
    diversity: between("diversity", 0, 1, 0),
    count: Math.ceil(between("count", 1, MOST, STEP) / STEP) * STEP,
    like: given.get("like"),
    language: Object.hasOwn(TEXTS, language) ? language : null,
  });
}

// ------------------------------------------------------- questions and lists

async function start() {
  if (!await learnModel()) return;
  say(null);
  await restore();
}

async function learnModel() {
  const answer = await ask("model", "model");
  if (answer === null) return false;
  if (answer.status !== 200) {
    complain(answer, start);
    return false;
  }
  about = answer;
  showAbilities();
  showTexts();
  return true;
}

// Show the state that the address holds.
async function restore() {
  readAddress();
  ofUser = NONE;
  similar = null;
  showsAll = false;
  chooseLanguage();
  if (about === null) return;
  if (state.user !== null) {
    const user = state.user;
    const answer = await askHistory(user);
    if (answer === null) return;
    if (answer.status !== 200) {
      complain(answer, restore, () => text.unknownUser(user));
      if (answer.status !== 404) return;
      Object.assign(state, { user: null, without: NONE });
      remember("replaceState");
    } else {
      ofUser = withTitles(answer.items).map((row) => row.item);
      at("user").value = user;
    }
  }
  showChoices();
  await update();
  await learnTitles();
}

const askHistory = (user) => ask("history", address(`history/${encodeURIComponent(user)}`, { k: MOST_IDS }));

async function lookUp(user) {
  say(null);
  const answer = await askHistory(user);
  if (answer === null) return;
  const isUnknown = answer.status === 404;
  at("user").setAttribute("aria-invalid", String(isUnknown));
  if (answer.status !== 200) {
    complain(answer, () => lookUp(user), () => text.unknownUser(user));
    return;
  }
  ofUser = withTitles(answer.items).map((row) => row.item);
  Object.assign(state, { items: NONE, user, without: NONE, like: null });
  showsAll = false;
  changed(text.has(user, ofUser.length));
}

// The titles of items that stand in the address alone.
async function learnTitles() {
  const wanted = about.titles ? state.items.filter((item) => !titles.has(item)) : NONE;
  for (let start = 0; start < wanted.length; start += TITLES_AT_ONCE) {
    const some = wanted.slice(start, start + TITLES_AT_ONCE);
    const answer = await ask("titles", address("items", [...some.map((item) => ["id", item]), ["k", TITLES_AT_ONCE]]));
    if (answer === null || answer.status !== 200) return;
    withTitles(answer.items);
  }
  if (wanted.length) showAll();
}

// Ask for the list of this state, and show it.
async function update(words = "") {
  const has = chosen();
  const rules = {
    k: state.count,
    ...(state.diversity && can("diversity") ? { diversity: state.diversity } : {}),
    ...(about?.columns.length ? { columns: true } : {}),
  };
  const isWholeUser = state.user !== null && !state.without.length;
  const who = isWholeUser ? { user: state.user, add: state.items } : { items: has.slice(0, MOST_IDS) };
  const body = { ...who, ...rules, explain: can("explain") };
  at("list").setAttribute("aria-busy", "true");
  const answer = await (has.length ? ask("list", "recommend", body) : ask("list", address("popular", rules)));
  if (answer === null) return;
  at("list").setAttribute("aria-busy", "false");
  if (answer.status === 404 && !isWholeUser) {
    leaveOut(has);
    await update(words);
  } else if (answer.status !== 200) {
    complain(answer, update);
  } else {
    leaveOut([...(answer.unknown?.items || NONE), ...(answer.unknown?.add || NONE)].map(String));
    showAnswer(answer, words);
  }
}

function showAnswer(answer, words) {
  shown = { items: withTitles(answer.items), isPopular: answer.fallback };
  if (!shown.items.some((row) => row.item === state.like)) closeSimilar("replaceState");
  showAll();
  tell(`${words} ${numShown()}`.trim());
  if (state.like !== null && similar === null) showSimilar();
  if (answer.model !== about.model) learnModel(); // the server has another one now
}

// Take items that the model does not know out of what was chosen.
function leaveOut(unknown) {
  if (!unknown.length) return;
  const isUnknown = new Set(unknown);
  state.items = state.items.filter((item) => !isUnknown.has(item));
  ofUser = ofUser.filter((item) => !isUnknown.has(item));
  remember("replaceState");
  say(() => text.unknownItems(unknown.length), { stays: true });
}

const numShown = () => (shown.isPopular ? text.numPopular : text.numListed)(shown.items.length);

function toggleSimilar(item) {
  if (state.like === item) {
    closeSimilar();
    showList();
    return;
  }
  closeSimilar(null);
  state.like = item;
  remember();
  showSimilar();
}

function closeSimilar(how = "pushState") {
  forget("similar");
  similar = null;
  if (state.like === null) return;
  state.like = null;
  if (how !== null) remember(how);
}

async function showSimilar() {
  const item = state.like;
  showList();
  const answer = await ask("similar", address(`similar/${encodeURIComponent(item)}`, { k: LIKE }));
  if (answer === null) return;
  if (answer.status !== 200) {
    closeSimilar("replaceState");
    showList();
    complain(answer, () => toggleSimilar(item));
    return;
  }
  similar = withTitles(answer.items);
  showList();
  tell(`${text.likeHeading(titleOf(item))}: ${text.numFound(similar.length)}`);
}

// ------------------------------------------------------------------ showing

function make(tag, { text: words, data = {}, press, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  Object.assign(element.dataset, data);
  if (words !== undefined) element.textContent = words;
  if (press) element.addEventListener("click", press);
  element.append(...children);
  return element;
}

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

// A title may run from right to left; what stands beside it does not turn with it.
const titled = (tag, item, given = {}) => make(tag, { dir: "auto", title: titleOf(item), text: titleOf(item), ...given });

const button = (given, ...children) => make("button", { type: "button", ...given }, ...children);

function showAll() {
  showChoices();
  showList();
}

function showAbilities() {
  at("columns").hidden = false;
  at("key-form").hidden = true;
  at("search-area").hidden = !can("new users");
  at("diversity-area").hidden = !can("diversity");
  if (!can("new users")) at("user-area").open = true;
}

function showTexts() {
  document.documentElement.lang = Object.keys(TEXTS).find((language) => TEXTS[language] === text);
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text[element.dataset.text];
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", text[element.dataset.label]);
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = text[element.dataset.placeholder];
  for (const element of document.querySelectorAll("[data-language]")) {
    element.setAttribute("aria-pressed", String(element.dataset.language === document.documentElement.lang));
  }
  at("lead").textContent = about === null || can("new users") ? text.lead : text.leadUsers;
  at("model").textContent = about === null ? "" : text.model(about);
  const example = about?.example_user;
  at("example").hidden = example === undefined;
  at("example").textContent = example === undefined ? "" : text.example(example);
  showNotice();
  showAll();
}

function chooseLanguage() {
  const wanted = navigator.languages.map((language) => language.split("-")[0]);
  text = TEXTS[state.language ?? wanted.find((language) => Object.hasOwn(TEXTS, language)) ?? "en"];
  showTexts();
}

function showChoices() {
  const has = chosen();
  const { user } = state;
  at("has-area").hidden = !has.length && user === null;
  at("has-heading").textContent = user === null ? text.chosen(has.length) : text.has(user, has.length);
  const isLong = user !== null && has.length > CHIPS;
  const some = isLong && !showsAll ? has.slice(0, CHIPS) : has;
  keepFocus(at("has"), () => at("has").replaceChildren(...some.map(chip)));
  at("all").hidden = !isLong;
  at("all").textContent = showsAll ? text.fewer : text.all(has.length);
  at("all").setAttribute("aria-expanded", String(showsAll));
  at("diversity").value = String(state.diversity);
  at("diversity-value").textContent = text.diversityIs(state.diversity);
  at("diversity").setAttribute("aria-valuetext", text.diversityIs(state.diversity));
}

function chip(item) {
  const data = { item, does: "remove" };
  const children = can("new users")
    ? [button({ class: "chip", data, "aria-label": text.remove(titleOf(item)), press: () => remove(item) }, titled("span", item), icon("remove"))]
    : [titled("span", item, { class: "chip" })];
  return make("li", {}, ...children);
}

function showList() {
  if (shown === null) return;
  const { user } = state;
  const isMixed = user !== null && (state.without.length || state.items.length);
  at("results-heading").textContent = shown.isPopular ? text.popular : user === null ? text.forYou : text.forUser(user);
  at("about-list").textContent = aboutList(isMixed);
  document.title = `${at("results-heading").textContent} · ultragcn`;
  const list = at("list");
  const before = new Set([...list.children].map((row) => row.dataset.item));
  keepFocus(list, () => list.replaceChildren(...shown.items.map((row) => rowOf(row, before.size && !before.has(row.item)))));
  at("more").hidden = shown.items.length < state.count || state.count >= MOST;
}

function aboutList(isMixed) {
  const { length } = shown.items;
  if (shown.isPopular) return can("new users") ? text.popularAbout : text.popularOnly;
  if (!length) return text.empty;
  return isMixed ? text.fromChanged(length) : text.numListed(length);
}

function rowOf(row, isNew) {
  const { item } = row;
  const title = titleOf(item);
  const isOpen = state.like === item;
  const actions = make("div", { class: "actions" });
  if (can("new users")) {
    const given = { class: "action", data: { item, does: "add" }, "aria-label": text.addItem(title), press: () => add(item) };
    actions.append(button(given, icon("add"), make("span", { text: text.add })));
  }
  if (can("similar")) {
    const data = { item, does: "like" };
    const given = { class: "action", data, "aria-label": text.likeItem(title), "aria-expanded": String(isOpen), press: () => toggleSimilar(item) };
    actions.append(button(given, icon("like"), make("span", { text: text.like })));
  }
  const made = make("li", { class: isNew ? "row new" : "row", data: { item } }, headOf(row), whyOf(row), actions);
  if (isOpen && similar !== null) made.append(similarTo(item));
  return made;
}

// The title, and below it what the items table knows besides.
function headOf(row) {
  const title = titled("p", row.item, { class: "title" });
  const known = Object.entries(row.columns ?? {}).filter(([, value]) => ![row.item, titleOf(row.item)].includes(String(value)));
  if (!known.length) return title;
  const cells = known.slice(0, COLUMNS).map(([name, value]) => {
    return make("span", { dir: "auto", title: `${name}: ${value}`, text: `${name}: ${value}` });
  });
  return make("div", { class: "head" }, title, make("p", { class: "cells" }, ...cells));
}

function whyOf(row) {
  const why = make("p", { class: "why" });
  if (shown.isPopular) {
    why.textContent = text.users(row.score);
  } else if (row.because.length) {
    why.append(make("span", { text: state.user === null ? text.because : text.becauseHas(state.user) }), " ");
    row.because.forEach((reason) => why.append(reasonOf(row.item, reason.item), " "));
  }
  return why;
}

function reasonOf(item, other) {
  if (!can("new users")) return titled("span", other, { class: "reason" });
  const given = { class: "reason", data: { item: other, does: `because ${item}` }, "aria-label": text.remove(titleOf(other)), press: () => remove(other) };
  return button(given, titled("span", other), icon("remove"));
}

function similarTo(item) {
  const has = new Set(chosen());
  const rows = similar.map(({ item: other }) => {
    const words = titled("span", other);
    if (!can("new users")) return make("li", {}, titled("span", other, { class: "chip" }));
    if (has.has(other)) return make("li", {}, make("span", { class: "chip is-chosen" }, icon("has"), words, unseen(text.isChosen(""))));
    const given = { class: "chip", data: { item: other, does: `similar ${item}` }, "aria-label": text.addItem(titleOf(other)), press: () => add(other) };
    return make("li", {}, button(given, icon("add"), words));
  });
  const heading = make("p", { class: "hint", dir: "auto", text: rows.length ? text.likeHeading(titleOf(item)) : text.noneLike });
  return make("div", { class: "similar" }, heading, make("ul", { class: "chips", role: "list" }, ...rows));
}

const unseen = (words) => make("span", { class: "unseen", text: words });

// Draw anew what holds the focus, and give the focus to the same thing, or else to what has come into its place.
function keepFocus(area, draw) {
  const buttons = () => [...area.querySelectorAll("button")];
  const held = area.contains(document.activeElement) ? document.activeElement : null;
  const place = held === null ? -1 : buttons().indexOf(held);
  const row = held?.closest(".row");
  const rowPlace = row ? [...area.children].indexOf(row) : -1;
  draw();
  if (held === null) return;
  const { item, does } = held.dataset;
  const now = buttons();
  const inRow = (one) => one && [...one.querySelectorAll("button")];
  const sameRow = inRow(row && [...area.children].find((one) => one.dataset.item === row.dataset.item));
  const nextRow = inRow(area.children[Math.min(rowPlace, area.children.length - 1)]);
  const next = now.find((one) => one.dataset.item === item && one.dataset.does === does)
    ?? sameRow?.find((one) => one.dataset.does.split(" ")[0] === does.split(" ")[0]) ?? sameRow?.[0]
    ?? nextRow?.find((one) => one.dataset.does.split(" ")[0] === does.split(" ")[0]) ?? nextRow?.[0]
    ?? now[Math.min(place, now.length - 1)] ?? (at("search-area").hidden ? at("results-heading") : at("search"));
  next.focus({ preventScroll: true });
}

// ------------------------------------------------------------------- search

async function search() {
  const words = at("search").value.trim();
  if (!words) {
    forget("search");
    closeSearch();
    return;
  }
  await find(words);
}

async function find(words) {
  const has = new Set(chosen());
  const answer = await ask("search", address("items", { q: words, k: Math.min(FOUND + has.size, MOST_IDS) }));
  if (answer === null) return;
  if (answer.status !== 200) {
    closeSearch();
    complain(answer, search);
    return;
  }
  found = withTitles(answer.items).filter((row) => !has.has(row.item)).slice(0, FOUND);
  at("found").replaceChildren(...found.map((row, place) => optionOf(row, place, words)));
  at("found").hidden = !found.length;
  at("nothing").hidden = found.length > 0;
  at("nothing").textContent = found.length ? "" : text.nothing(words);
  at("popup").hidden = false;
  at("search").setAttribute("aria-expanded", String(found.length > 0));
  activate(found.length ? 0 : -1);
  tell(found.length ? text.numFound(found.length) : text.nothing(words));
}

function optionOf(row, place, words) {
  const title = make("span", { class: "title", dir: "auto" }, ...marked(titleOf(row.item), words));
  const option = make("li", { id: `found-${place}`, role: "option", "aria-selected": "false", title: titleOf(row.item), press: () => pick(place) }, title);
  option.append(make("span", { class: "hint", text: text.users(row.users) }));
  option.addEventListener("pointermove", () => activate(place));
  return option;
}

// The title, with what was typed in it marked.
function marked(title, words) {
  const [low, part] = [title.toLowerCase(), words.toLowerCase()];
  const start = low.length === title.length ? low.indexOf(part) : -1;
  if (start < 0) return [title];
  const end = start + part.length;
  return [title.slice(0, start), make("mark", { text: title.slice(start, end) }), title.slice(end)];
}

function activate(place) {
  active = place;
  [...at("found").children].forEach((option, one) => option.setAttribute("aria-selected", String(one === place)));
  if (place < 0) at("search").removeAttribute("aria-activedescendant");
  else at("search").setAttribute("aria-activedescendant", `found-${place}`);
}

function pick(place) {
  const { item } = found[place];
  at("search").value = "";
  closeSearch();
  add(item);
}

function closeSearch() {
  forget("search");
  found = NONE;
  at("popup").hidden = true;
  at("search").setAttribute("aria-expanded", "false");
  activate(-1);
}

function searchKey(event) {
  if (event.isComposing || event.keyCode === 229) return; // Enter ends a Korean syllable
  const last = found.length - 1;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    if (at("popup").hidden) find(at("search").value.trim());
    else if (event.key === "ArrowDown") activate(active >= last ? 0 : active + 1);
    else activate(active <= 0 ? last : active - 1);
  } else if (event.key === "Enter" && active >= 0) {
    event.preventDefault();
    pick(active);
  } else if (event.key === "Escape") {
    if (at("popup").hidden) at("search").value = "";
    closeSearch();
  }
}

// ------------------------------------------------------------------- events

at("search").addEventListener("input", search);
at("search").addEventListener("keydown", searchKey);
at("search").addEventListener("blur", closeSearch);
at("popup").addEventListener("pointerdown", (event) => event.preventDefault()); // the focus stays in the field
at("clear").addEventListener("click", () => {
  clear();
  (at("search-area").hidden ? at("user") : at("search")).focus();
});
at("all").addEventListener("click", () => {
  showsAll = !showsAll;
  showChoices();
});
at("more").addEventListener("click", () => {
  const place = shown.items.length;
  state.count = Math.min(state.count + STEP, MOST);
  remember();
  update().then(() => at("list").children[place]?.querySelector("button")?.focus());
});
at("diversity").addEventListener("input", (event) => {
  state.diversity = Number(event.target.value);
  showChoices();
  update();
});
at("diversity").addEventListener("change", () => remember());
at("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const user = at("user").value.trim();
  if (user) lookUp(user);
});
at("example").addEventListener("click", () => {
  at("user").value = String(about.example_user);
  lookUp(at("user").value);
});
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, at("key").value.trim());
  start();
});
at("again").addEventListener("click", () => {
  const { again } = notice;
  say(null);
  again();
});
at("skip").addEventListener("click", (event) => {
  event.preventDefault();
  at("results-heading").focus();
});
for (const element of document.querySelectorAll("[data-language]")) {
  element.addEventListener("click", () => {
    state.language = element.dataset.language;
    remember("replaceState");
    chooseLanguage();
  });
}
window.addEventListener("popstate", restore);

readAddress();
chooseLanguage();
start();
