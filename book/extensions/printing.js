// What the book's one long page needs before it is printed; printing.py calls both functions.

const SHORT = 20; // lines of code that stay on one page

async function prepare() {
  if (window.MathJax) await MathJax.startup.promise;
  for (const details of document.querySelectorAll("details")) details.open = true;
  for (const code of document.querySelectorAll("pre")) {
    if (code.textContent.trim().split("\n").length <= SHORT) code.classList.add("whole");
  }
  for (const last of document.querySelectorAll("section > p:last-child")) {
    if (last.textContent.startsWith("Next: ")) last.remove(); // on paper one turns the page
  }
  document.querySelector(".toctree-wrapper").before(contents());
  await document.fonts.ready;
}

// A list of all documents, indented as they lie in one another, under the captions of their groups.
function contents() {
  const list = document.createElement("nav");
  list.className = "contents";
  list.append(line("h1", "Contents"));
  for (const place of document.querySelectorAll('.toctree-wrapper > .caption, span[id^="document-"]')) {
    if (place.matches(".caption")) {
      list.append(line("p", place.textContent.replace(/[¶#]\s*$/, "")));
      continue;
    }
    const title = place.nextElementSibling.querySelector("h1, h2, h3, h4, h5");
    const text = title.firstChild.textContent;
    title.classList.add("title");
    title.prepend(place); // behind the page break, where the number is right
    const link = line("a", text);
    link.href = `#${place.id}`;
    link.style.paddingLeft = `${6 * (depth(place) - 1)}mm`;
    list.append(link);
  }
  return list;
}

function line(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function depth(element) {
  let wrappers = 0;
  for (let at = element; at; at = at.parentElement) wrappers += at.matches(".toctree-wrapper");
  return wrappers;
}

// Puts behind each line of the contents the number of the page where its link leads.
function numberContents(pages) {
  for (const link of document.querySelectorAll("nav.contents a")) {
    const place = line("span", pages[link.getAttribute("href").slice(1)] ?? "");
    place.className = "page";
    link.append(place);
  }
}
