// Shows how far something is while it runs: fetches the page again and puts its new figures in
// place. At the end the whole page is loaded anew, with what can be done then.
const SECONDS = 3;

async function refresh() {
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("progress");
    if (!fresh) return; // logged out meanwhile
    if (!fresh.dataset.running) return location.reload();
    document.getElementById("progress").replaceWith(fresh);
    later();
  } catch {
    later(); // the network is away: it may come back
  }
}

function later() {
  setTimeout(refresh, SECONDS * 1000);
}

later();
