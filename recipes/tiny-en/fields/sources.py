"""The sources: what is read where, at which commit, under which licence and by which reader."""

from __future__ import annotations

from dataclasses import dataclass

from articles import acl, clinical_trials, education, plos
from books import ebook, latex_book
from debates import addresses, arguments, topic_articles
from passages import Reader
from references import factbook, peps, wikipathways
from sites import site
from textbooks import textbook
from wiki import culture, wikipedia


@dataclass(frozen=True)
class Source:
    """A repository at a commit, the licence of its text and where it is stated, and the most passages."""

    name: str
    repository: str
    commit: str
    licence: str
    cap: int
    reader: Reader


_CC_BY_3 = "CC BY 3.0 (LICENSE.txt)"
_US_WORK = "public domain in the USA, CC0 1.0 elsewhere (LICENSE.md)"


def _openstax(name: str, commit: str, cap: int) -> Source:
    reader = textbook(r"^contents/.*\.md$")
    return Source(f"openstax-{name}", f"philschatz/{name}-book", commit, _CC_BY_3, cap, reader)


def _ebook(name: str, book: str, commit: str) -> Source:
    licence = "public domain in the USA, the edition CC0 1.0 (LICENSE.md)"
    return Source(name, f"standardebooks/{book}", commit, licence, 900, ebook)


def _wikipedia(name: str, cap: int, reader: Reader) -> Source:
    repository, commit = "chinapedia/wikipedia.abstract.en", "4f3e897da088cbe89a4f1d4cba3fa2e439c3721b"
    licence = "CC BY-SA 3.0 (the text's own licence, Wikipedia of August 2019)"
    return Source(f"wikipedia-{name}", repository, commit, licence, cap, reader)


#: Where two sources hold one passage, the first keeps it, so the order counts. The open source guide is read
#: twice: as a textbook for its paragraphs, as a site for its lists.
# fmt: off
SOURCES: tuple[Source, ...] = (
    # Science, techniques and reference.
    Source("acl-abstracts", "mbollmann/acl-anthology", "2b2839f9ae786520c016a375b47e97d0b6b78dae",
           "CC BY 4.0 for ACL volumes of 2016 and later (site footer in hugo/layouts)", 5000, acl),
    Source("carpentries", "carpentries/instructor-training", "d4498ab1b0805607b00acc09786c8d47f02552fa",
           "CC BY 4.0 (LICENSE.md)", 400, textbook(r"^(?:episodes|_extras|learners|instructors)/.*\.md$")),
    Source("cp-algorithms", "cp-algorithms/cp-algorithms", "861a9956d67cca912e02091f4cec4a6efe2022a0",
           "CC BY-SA 4.0 (LICENSE)", 500, textbook(r"^src/.*\.md$")),
    Source("d2l", "d2l-ai/d2l-en", "23d7a5aecceee57d1292c56e90cce307f183bb0a",
           "CC BY-SA 4.0 (LICENSE)", 1500, textbook(r"^chapter_.*\.md$")),
    Source("eips", "ethereum/EIPs", "f767a1e8078e17c9b381a91d35a09492189ede1b",
           "CC0 1.0 (LICENSE.md; each document's Copyright section)", 1000,
           textbook(r"^EIPS/eip-\d+\.md$", "copyright|acknowledg|test case")),
    Source("electronics-lab", "troymessina/ElectronicsLab", "45868d30683a0927b90f700abd72c6fafc673eec",
           "CC0 1.0 (LICENSE; the README's badge says CC BY-SA 4.0)", 300, textbook(r"^chapters/\d.*\.md$")),
    Source("factbook", "factbook/factbook.json", "8662a8b17a784841ab4528631b04090eb2f183eb",
           "public domain (README)", 1200, factbook),
    Source("jose-papers", "openjournals/jose-papers", "33e0027f3ea3b278bd09bb45a8128079949f2c41",
           "CC BY 4.0 (each paper)", 1000, education),
    Source("library-carpentry-fair",
           "LibraryCarpentry/lc-fair-research", "6dc5a89613cfcd137d835372821f4e532c1ca9bc",
           "CC BY 4.0 (README, LICENSE.md)", 200, textbook(r"^_episodes/.*\.md$")),
    Source("library-carpentry-overview",
           "LibraryCarpentry/lc-overview", "2d0ac2f105e8d41f8569d3b0cdb76e8ed560c2b4",
           "CC BY 4.0 (LICENSE.md)", 200, textbook(r"^(?:episodes/.*|index)\.md$")),
    Source("nist-800-63", "usnistgov/800-63-3", "ce8ada6277a2948308d85b16a4c568874f7d5abb",
           "public domain, NIST (LICENSE.md)", 500, textbook(r"^sp800-63.*/(?:sec|app).*\.md$")),
    Source("opensource-guide", "github/opensource.guide", "ebc9678e39b55ff5e5c8801d1960904692188e90",
           "CC BY 4.0 (README, LICENSE)", 300, textbook(r"^_articles/[a-z-]+\.md$")),
    _openstax("astronomy", "ff8ede5abbee727f092ae62b108d227a25573c4b", 1500),
    _openstax("biology-concepts", "beab455e3b5573c027a24053fddb49e879fe0e5d", 800),
    _openstax("biology", "cf3dc8c0d87f9dc4d0556464a4ac33b58dd9d726", 2000),
    _openstax("chemistry", "a6ac3918e61cbedf0589c5b43e748dc8a7edf5e2", 1200),
    _openstax("microbiology", "f6620108ab189976ddf5f2dae61502b8d817e9e7", 1500),
    _openstax("physics", "a7efaa7e221fab1694022d8bb98b83a73ee31d3d", 2000),
    _openstax("psychology", "aa152d641e2ad5d7f1eccb74a1e9a9b7bf915b9f", 1500),
    _openstax("sociology", "8f29e07cc2aac36da685b3e805dc3da0e15beb41", 1200),
    _openstax("us-history", "635ed5914eb2ea3768169b88e1119587cb037e82", 1000),
    Source("peps", "python/peps", "ba4deeb7969588d937da609008d05bb83a47b1ab",
           "public domain or CC0 by each document's own statement (others left out)", 1500, peps),
    Source("physics-building-models",
           "OSTP/PhysicsArtofModelling", "6dcfba1286904ac0d609d4c39a64515a274b26a8",
           "CC BY-SA 4.0 (README)", 1500,
           latex_book(r"^tex/(?!BuildingModels|CoverPage|Template|TextbookPreamble|.*longversion)\w+\.tex$")),
    Source("plos-articles", "PLOS/allofplos", "07fdeed848b2816a7fbf7da6418ef6e2076e1960",
           "CC BY or CC0 by each article's own permissions (others left out)", 2500, plos),
    Source("pmc-trials", "jayded/evidence-inference", "b9831b6c59b52ac2d277f757d413ececf0949a8d",
           "CC BY or CC0 by each article's own permissions (others left out)", 5000, clinical_trials),
    Source("wikipathways", "wikipathways/wikipathways-database", "c0aa5fdb57bcce8171cbb02030f7f1fee80b5919",
           "CC0 1.0 (LICENSE.md)", 2000, wikipathways),
    _wikipedia("computing", 4000, wikipedia("computing", 5)),
    _wikipedia("engineering", 4000, wikipedia("engineering", 5)),
    _wikipedia("general", 5000, wikipedia("general", 1)),
    _wikipedia("medicine", 4000, wikipedia("medicine", 5)),
    # Arguments, advice, law and culture.
    Source("18f-methods", "18F/methods", "f9305795b101763edd7ff3287a6e1005152ca862",
           _US_WORK, 500, site(r"^(_methods|_pages|content|pages)/.*\.md$", r"_es|/es/|spanish|[.-]es\.md")),
    Source("18f-site", "18F/18f.gsa.gov", "0a55c75e6d9bc71c80136a3867dac52356177443",
           _US_WORK, 3000, site(r"\.md$", r"^(test|docs|README|LICENSE|CONTRIB)")),
    Source("aws-guide", "open-guides/og-aws", "cde02946c221492d46c03777de41894b88b7d1ff",
           "CC BY-SA 4.0 (LICENSE.txt, README)", 800, site(r"^README\.md$")),
    Source("based-cooking", "LukeSmithxyz/based.cooking", "2d8642ec41ccc6162ec3123c15024dd3d22cc33b",
           "public domain, Unlicense (LICENSE.md)", 1000, site(r"^content/.*\.md$")),
    _ebook("chesterton-heretics", "g-k-chesterton_heretics", "ba7d686509293e838f829e7f8e1433287aa5e764"),
    _ebook("chesterton-orthodoxy", "g-k-chesterton_orthodoxy", "7e3d92347e411b959bb294d7ae139207437daa51"),
    Source("cloud-gov", "cloud-gov/cg-site", "536b459f25dc541450f8b02675b32584196a05fd",
           _US_WORK, 1500, site(r"^(content|_pages|_posts|_docs|src|pages)/.*\.md$")),
    Source("digitalgov", "GSA/digitalgov.gov", "4979583206d90ff1707b097454a9b169ca9e95e4",
           _US_WORK, 4000,
           site(r"^content/.*\.md$", r"/(authors|topics|services|sources|promos|communities|events)/")),
    _ebook("douglass-narrative", "frederick-douglass_narrative-of-the-life-of-frederick-douglass",
           "d45755fdb0118abacf596b8678a2c9e7a397da8f"),
    _ebook("dubois-souls", "w-e-b-du-bois_the-souls-of-black-folk",
           "8013f76e7d27fd7325fb93eafd180c8243dd4354"),
    _ebook("emerson-essays", "ralph-waldo-emerson_essays", "28e3e4eedc0f41c88feee40fc600eddf277892f6"),
    _ebook("federalist", "alexander-hamilton_john-jay_james-madison_the-federalist-papers",
           "75f7b50db76aa0f3b6114933d33fa4354034a909"),
    _ebook("franklin-autobiography", "benjamin-franklin_the-autobiography-of-benjamin-franklin",
           "ff5d6bec9a260f1f5e0ed216d97126f388a60d7c"),
    _ebook("hobbes-leviathan", "thomas-hobbes_leviathan", "caed20c12313605f68289c56696a76e43b7124d0"),
    Source("ibm-arguments", "IBM/KPA_2021_shared_task", "2f5e2d5ad5a387fe731da2f00b423ce1d845c5d2",
           "CC BY-SA 3.0 (IBM-ArgQ-Rank-30k, their origin), CDLA-Sharing 1.0 (kpm_data/readme.txt)", 4000,
           arguments),
    Source("ibm-topic-articles", "cchang-vassar/Semantic-Relations-in-Vector-Embeddings",
           "7b9d0a44f67cab8adc0d68881ceea6598aaa760d",
           "CC BY-SA 3.0 (corpora/IBM_EACL/README.txt)", 4000, topic_articles),
    Source("login-help", "GSA-TTS/identity-site", "7bc713b98bef38f5cec7668726013a53d8a53a94",
           _US_WORK, 1000, site(r"^content/.*\.md$", r"_(?:es|fr|zh)\.md$|/(?:es|fr|zh)/")),
    _ebook("mill-liberty", "john-stuart-mill_on-liberty", "f9793ea4d5f540e28413cf49496da4fcbf54d822"),
    _ebook("mill-subjection", "john-stuart-mill_the-subjection-of-women",
           "e49f6997984ae9ef6ef316419370cc492d520331"),
    Source("opensource-guide", "github/opensource.guide", "ebc9678e39b55ff5e5c8801d1960904692188e90",
           "CC BY 4.0 (README, LICENSE)", 1000, site(r"^_articles/[^/]+\.md$")),
    Source("openstax-economics", "philschatz/economics-book", "d3f319e7a162fecf1c15c07cd9bf31e6a48e1877",
           _CC_BY_3, 2000, site(r"^contents/.*\.md$", lists=False)),
    Source("plainlanguage", "GSA/plainlanguage.gov", "43230773bd7c589ac6394ead7b36a2554241abdc",
           _US_WORK, 1000, site(r"^_pages/.*\.md$")),
    _ebook("russell-problems", "bertrand-russell_the-problems-of-philosophy",
           "6d2f24b18a4263d7ca43022163cfa9e1f366c9ba"),
    _ebook("smith-wealth", "adam-smith_the-wealth-of-nations", "2b5c1ea5d6a904972dcb0bec9b89a32f0c3255c5"),
    _ebook("thoreau-walden", "henry-david-thoreau_walden", "f000c2130735e4cff43fd147d47201c0199405d2"),
    Source("tts-handbook", "18F/handbook", "1e4955634d0369f17e5bbc0ebbf8f62e2a3dfe4b",
           _US_WORK, 2000, site(r"^(pages|_pages)/.*\.md$")),
    Source("us-inaugural", "nltk/nltk_data", "5db857e6f7df11eabb5e5665836db9ec8df07e28",
           "public domain (packages/corpora: inaugural.xml, state_union.xml)", 1500,
           addresses("inaugural", "Inaugural")),
    Source("us-state-union", "nltk/nltk_data", "5db857e6f7df11eabb5e5665836db9ec8df07e28",
           "public domain (packages/corpora: inaugural.xml, state_union.xml)", 2500,
           addresses("state_union", "State of the Union")),
    _ebook("washington-slavery", "booker-t-washington_up-from-slavery",
           "07585f67b8e268402e0356b48035f523c10a27d0"),
    _wikipedia("culture", 4000, culture),
    _ebook("wollstonecraft-vindication", "mary-wollstonecraft_a-vindication-of-the-rights-of-woman",
           "40e9934f14a5c934f4bdbf73ca08e8597b0dbf04"),
)
# fmt: on
