"""A small grammar of five languages, and pairs of sentences that mean the same or nearly so.

A :data:`Meaning` is free of language; :func:`render` puts it into English, German, French, Spanish or Japanese, and a
:class:`Style` says which of several ways of saying it is taken. Two sentences with the same meaning in different
styles are a paraphrase (label 1). Two whose meanings differ in one point (who did it to whom, where from and where to,
when, how many, whether at all) share nearly all their words and are none (label 0), as in PAWS.

Styles also make translation artifacts: a text written freely in a language uses synonyms, tenses and word orders that
the plain style of a translator never shows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

LANGUAGES = ("en", "de", "fr", "es", "ja")

# The lexicon. One line a concept, one column a language in the order of LANGUAGES; the concept is called by its first
# English form. A slash parts the usual word from its synonym, an underscore stands for a space within a form.

# name, m(asculine) or f(eminine), Japanese
_NAMES = """
Anna f アンナ
Paul m ポール
Laura f ローラ
Martin m マーティン
Sofia f ソフィア
David m デイビッド
Clara f クララ
Victor m ビクター
Emma f エマ
Oscar m オスカー
Nina f ニーナ
Simon m サイモン
"""

# noun; gender and noun in German, French and Spanish; Japanese
_ROLES = """
doctor / physician | m Arzt / m Mediziner       | m médecin / m docteur       | m médico / m doctor        | 医者 / 医師
teacher            | m Lehrer                   | m professeur / m enseignant | m profesor / m maestro     | 先生 / 教師
baker              | m Bäcker                   | m boulanger                 | m panadero                 | パン屋
painter / artist   | m Maler / m Künstler       | m peintre / m artiste       | m pintor / m artista       | 画家
judge              | m Richter                  | m juge / m magistrat        | m juez / m magistrado      | 裁判官 / 判事
mayor              | m Bürgermeister            | m maire                     | m alcalde                  | 市長
singer             | m Sänger                   | m chanteur                  | m cantante                 | 歌手
writer / author    | m Schriftsteller / m Autor | m écrivain / m auteur       | m escritor / m autor       | 作家
engineer           | m Ingenieur                | m ingénieur                 | m ingeniero                | 技師 / エンジニア
lawyer / attorney  | m Anwalt / m Rechtsanwalt  | m avocat                    | m abogado / m letrado      | 弁護士
farmer             | m Landwirt                 | m agriculteur / m fermier   | m agricultor / m granjero  | 農夫
nurse              | f Krankenschwester         | f infirmière                | f enfermera                | 看護師
queen              | f Königin                  | f reine                     | f reina                    | 女王
princess           | f Prinzessin               | f princesse                 | f princesa                 | 王女
actress            | f Schauspielerin           | f actrice / f comédienne    | f actriz                   | 女優
player             | m Spieler                  | m joueur                    | m jugador                  | 選手
coach / trainer    | m Trainer                  | m entraîneur                | m entrenador               | コーチ / 監督
gardener           | m Gärtner                  | m jardinier                 | m jardinero                | 庭師
"""  # noqa: E501

# singular and plural, with the gender before them; Japanese with its counter
_THINGS = """
car cars / automobile automobiles | n Auto Autos / m Wagen Wagen | f voiture voitures / f automobile automobiles | m coche coches / m auto autos | 車 台 / 自動車 台
house houses | n Haus Häuser | f maison maisons | f casa casas / f vivienda viviendas | 家 軒 / 住宅 軒
bicycle bicycles / bike bikes | n Fahrrad Fahrräder / n Rad Räder | m vélo vélos / f bicyclette bicyclettes | f bicicleta bicicletas / f bici bicis | 自転車 台
boat boats | n Boot Boote | m bateau bateaux | m barco barcos / m bote botes | 船 隻 / ボート 隻
book books | n Buch Bücher | m livre livres / m ouvrage ouvrages | m libro libros | 本 冊 / 書籍 冊
letter letters | m Brief Briefe | f lettre lettres | f carta cartas | 手紙 通
poem poems | n Gedicht Gedichte | m poème poèmes | m poema poemas / f poesía poesías | 詩 編
picture pictures / painting paintings | n Bild Bilder / n Gemälde Gemälde | m tableau tableaux / f peinture peintures | m cuadro cuadros / f pintura pinturas | 絵 枚 / 絵画 枚
watch watches | f Uhr Uhren / f Armbanduhr Armbanduhren | f montre montres | m reloj relojes | 時計 個 / 腕時計 個
ring rings | m Ring Ringe | f bague bagues / m anneau anneaux | m anillo anillos / f sortija sortijas | 指輪 個
bag bags | f Tasche Taschen | m sac sacs | m bolso bolsos | かばん 個 / バッグ 個
bridge bridges | f Brücke Brücken | m pont ponts | m puente puentes | 橋 本
tower towers | m Turm Türme | f tour tours | f torre torres | 塔 つ / タワー つ
museum museums | n Museum Museen | m musée musées | m museo museos | 博物館 つ
door doors | f Tür Türen | f porte portes | f puerta puertas | ドア つ / 扉 つ
window windows | n Fenster Fenster | f fenêtre fenêtres | f ventana ventanas | 窓 つ
key keys | m Schlüssel Schlüssel | f clé clés | f llave llaves | 鍵 本 / キー 本
coat coats | m Mantel Mäntel | m manteau manteaux | m abrigo abrigos | コート 着
table tables | m Tisch Tische | f table tables | f mesa mesas | テーブル つ / 机 つ
chair chairs | m Stuhl Stühle | f chaise chaises | f silla sillas | 椅子 つ
guitar guitars | f Gitarre Gitarren | f guitare guitares | f guitarra guitarras | ギター 本
"""  # noqa: E501

# form; German stem; French masculine and feminine; Spanish masculine, feminine and their plurals; Japanese
_ADJECTIVES = """
red       | rot            | rouge rouge             | rojo roja rojos rojas                     | 赤い
blue      | blau           | bleu bleue              | azul azul azules azules                   | 青い
green     | grün           | vert verte              | verde verde verdes verdes                 | 緑の
black     | schwarz        | noir noire              | negro negra negros negras                 | 黒い
white     | weiß           | blanc blanche           | blanco blanca blancos blancas             | 白い
expensive | teur           | cher chère              | caro cara caros caras                     | 高価な
modern    | modern         | moderne moderne         | moderno moderna modernos modernas         | 近代的な
famous    | berühmt        | célèbre célèbre         | famoso famosa famosos famosas             | 有名な
difficult | schwierig      | difficile difficile     | difícil difícil difíciles difíciles       | 難しい
sad       | traurig        | triste triste           | triste triste tristes tristes             | 悲しい
romantic  | romantisch     | romantique romantique   | romántico romántica románticos románticas | ロマンチックな
"""

# past, participle, infinitive; French participle, infinitive, simple past; Spanish past, participle, infinitive;
# Japanese stem, plain past, plain negative past, passive stem. Behind them the objects that the verb takes.
_DEEDS = """
bought bought buy / purchased purchased purchase | kaufte gekauft kaufen / erwarb erworben erwerben | acheté acheter acheta | compró comprado comprar / adquirió adquirido adquirir | 買い 買った 買わなかった 買われ / 購入し 購入した 購入しなかった 購入され | car house bicycle boat book picture watch ring bag coat table chair guitar
sold sold sell | verkaufte verkauft verkaufen | vendu vendre vendit | vendió vendido vender | 売り 売った 売らなかった 売られ / 売却し 売却した 売却しなかった 売却され | car house bicycle boat book picture watch ring bag coat table chair guitar
repaired repaired repair / fixed fixed fix | reparierte repariert reparieren | réparé réparer répara | reparó reparado reparar / arregló arreglado arreglar | 修理し 修理した 修理しなかった 修理され / 直し 直した 直さなかった 直され | car bicycle boat watch door table chair guitar
found found find / discovered discovered discover | fand gefunden finden / entdeckte entdeckt entdecken | trouvé trouver trouva / découvert découvrir découvrit | encontró encontrado encontrar / halló hallado hallar | 見つけ 見つけた 見つけなかった 見つけられ / 発見し 発見した 発見しなかった 発見され | book letter picture watch ring bag key coat
lost lost lose | verlor verloren verlieren | perdu perdre perdit / égaré égarer égara | perdió perdido perder / extravió extraviado extraviar | なくし なくした なくさなかった なくされ / 紛失し 紛失した 紛失しなかった 紛失され | book letter picture watch ring bag key coat
stole stolen steal | stahl gestohlen stehlen / entwendete entwendet entwenden | volé voler vola / dérobé dérober déroba | robó robado robar / hurtó hurtado hurtar | 盗み 盗んだ 盗まなかった 盗まれ | car bicycle picture watch ring bag
photographed photographed photograph | fotografierte fotografiert fotografieren | photographié photographier photographia | fotografió fotografiado fotografiar | 撮影し 撮影した 撮影しなかった 撮影され | house boat bridge tower museum picture
built built build / constructed constructed construct | baute gebaut bauen / errichtete errichtet errichten | construit construire construisit / bâti bâtir bâtit | construyó construido construir / edificó edificado edificar | 建設し 建設した 建設しなかった 建設され | house bridge tower museum
destroyed destroyed destroy | zerstörte zerstört zerstören | détruit détruire détruisit | destruyó destruido destruir | 破壊し 破壊した 破壊しなかった 破壊され / 壊し 壊した 壊さなかった 壊され | house bridge tower museum
designed designed design | entwarf entworfen entwerfen | conçu concevoir conçut / dessiné dessiner dessina | diseñó diseñado diseñar / proyectó proyectado proyectar | 設計し 設計した 設計しなかった 設計され | car house boat bridge tower museum
wrote written write | schrieb geschrieben schreiben / verfasste verfasst verfassen | écrit écrire écrivit / rédigé rédiger rédigea | escribió escrito escribir / redactó redactado redactar | 書き 書いた 書かなかった 書かれ | book letter poem
read read read | las gelesen lesen | lu lire lut | leyó leído leer | 読み 読んだ 読まなかった 読まれ | book letter poem
translated translated translate | übersetzte übersetzt übersetzen | traduit traduire traduisit | tradujo traducido traducir | 翻訳し 翻訳した 翻訳しなかった 翻訳され / 訳し 訳した 訳さなかった 訳され | book letter poem
published published publish | veröffentlichte veröffentlicht veröffentlichen / publizierte publiziert publizieren | publié publier publia | publicó publicado publicar / editó editado editar | 出版し 出版した 出版しなかった 出版され / 発表し 発表した 発表しなかった 発表され | book poem
opened opened open | öffnete geöffnet öffnen | ouvert ouvrir ouvrit | abrió abierto abrir | 開け 開けた 開けなかった 開けられ | door window
closed closed close / shut shut shut | schloss geschlossen schließen | fermé fermer ferma | cerró cerrado cerrar | 閉め 閉めた 閉めなかった 閉められ | door window
sent sent send | schickte geschickt schicken / sandte gesandt senden | envoyé envoyer envoya / expédié expédier expédia | envió enviado enviar / mandó mandado mandar | 送り 送った 送らなかった 送られ / 発送し 発送した 発送しなかった 発送され | letter book ring key
received received receive | erhielt erhalten erhalten | reçu recevoir reçut | recibió recibido recibir | 受け取り 受け取った 受け取らなかった 受け取られ | letter book ring key
"""  # noqa: E501

# the same, done to a person; last the Japanese particle of the object
_ENCOUNTERS = """
congratulated congratulated congratulate | beglückwünschte beglückwünscht beglückwünschen | félicité féliciter félicita | felicitó felicitado felicitar | 祝福し 祝福した 祝福しなかった 祝福され | を
criticized criticized criticize | kritisierte kritisiert kritisieren | critiqué critiquer critiqua | criticó criticado criticar | 批判し 批判した 批判しなかった 批判され / 非難し 非難した 非難しなかった 非難され | を
defended defended defend | verteidigte verteidigt verteidigen | défendu défendre défendit | defendió defendido defender | 擁護し 擁護した 擁護しなかった 擁護され / 弁護し 弁護した 弁護しなかった 弁護され | を
welcomed welcomed welcome | begrüßte begrüßt begrüßen / empfing empfangen empfangen | accueilli accueillir accueillit / reçu recevoir reçut | recibió recibido recibir / acogió acogido acoger | 迎え 迎えた 迎えなかった 迎えられ / 歓迎し 歓迎した 歓迎しなかった 歓迎され | を
supported supported support | unterstützte unterstützt unterstützen | soutenu soutenir soutint / appuyé appuyer appuya | apoyó apoyado apoyar / respaldó respaldado respaldar | 支援し 支援した 支援しなかった 支援され / 応援し 応援した 応援しなかった 応援され | を
defeated defeated defeat / beat beaten beat | besiegte besiegt besiegen / schlug geschlagen schlagen | battu battre battit / vaincu vaincre vainquit | derrotó derrotado derrotar / venció vencido vencer | 破り 破った 破らなかった 破られ / 倒し 倒した 倒さなかった 倒され | を
rescued rescued rescue / saved saved save | rettete gerettet retten | sauvé sauver sauva / secouru secourir secourut | rescató rescatado rescatar / salvó salvado salvar | 救助し 救助した 救助しなかった 救助され / 助け 助けた 助けなかった 助けられ | を
hired hired hire / employed employed employ | engagierte engagiert engagieren | engagé engager engagea / embauché embaucher embaucha | contrató contratado contratar | 雇い 雇った 雇わなかった 雇われ / 採用し 採用した 採用しなかった 採用され | を
dismissed dismissed dismiss / fired fired fire | entließ entlassen entlassen / feuerte gefeuert feuern | licencié licencier licencia / renvoyé renvoyer renvoya | despidió despedido despedir | 解雇し 解雇した 解雇しなかった 解雇され | を
saw seen see | sah gesehen sehen | vu voir vit / aperçu apercevoir aperçut | vio visto ver | 見かけ 見かけた 見かけなかった 見かけられ / 目撃し 目撃した 目撃しなかった 目撃され | を
warned warned warn | warnte gewarnt warnen | averti avertir avertit / prévenu prévenir prévint | advirtió advertido advertir / avisó avisado avisar | 警告し 警告した 警告しなかった 警告され | に
interviewed interviewed interview | interviewte interviewt interviewen / befragte befragt befragen | interviewé interviewer interviewa / interrogé interroger interrogea | entrevistó entrevistado entrevistar | インタビューし インタビューした インタビューしなかった インタビューされ / 取材し 取材した 取材しなかった 取材され | に
betrayed betrayed betray | verriet verraten verraten | trahi trahir trahit | traicionó traicionado traicionar | 裏切り 裏切った 裏切らなかった 裏切られ | を
"""  # noqa: E501

_JOURNEYS = """
traveled traveled travel | reiste gereist reisen | voyagé voyager voyagea | viajó viajado viajar | 旅行し 旅行した 旅行しなかった 旅行され
flew flown fly | flog geflogen fliegen | pris_l'avion prendre_l'avion prit_l'avion | voló volado volar | 飛行機で行き 飛行機で行った 飛行機で行かなかった 飛行機で行かれ
drove driven drive | fuhr gefahren fahren | roulé rouler roula | condujo conducido conducir | 車で行き 車で行った 車で行かなかった 車で行かれ
"""  # noqa: E501

# more of it and, in the next line, less of it; French and Spanish for a man and for a woman; Japanese with its copula
_QUALITIES = """
older    | älter     | plus_âgé plus_âgée     | mayor mayor              | 年上 だ
younger  | jünger    | plus_jeune plus_jeune  | menor menor              | 年下 だ
taller   | größer    | plus_grand plus_grande | más_alto más_alta        | 背が高い -
shorter  | kleiner   | plus_petit plus_petite | más_bajo más_baja        | 背が低い -
stronger | stärker   | plus_fort plus_forte   | más_fuerte más_fuerte    | 力が強い -
weaker   | schwächer | plus_faible plus_faible | más_débil más_débil     | 力が弱い -
richer   | reicher   | plus_riche plus_riche  | más_rico más_rica        | 裕福 だ
poorer   | ärmer     | plus_pauvre plus_pauvre | más_pobre más_pobre     | 貧しい -
faster   | schneller | plus_rapide plus_rapide | más_rápido más_rápida   | 足が速い -
slower   | langsamer | plus_lent plus_lente   | más_lento más_lenta      | 足が遅い -
"""

_CITIES = """
Berlin | Berlin   | Berlin   | Berlín   | ベルリン
Paris  | Paris    | Paris    | París    | パリ
Madrid | Madrid   | Madrid   | Madrid   | マドリード
Rome   | Rom      | Rome     | Roma     | ローマ
London | London   | Londres  | Londres  | ロンドン
Vienna | Wien     | Vienne   | Viena    | ウィーン
Tokyo  | Tokio    | Tokyo    | Tokio    | 東京
Lisbon | Lissabon | Lisbonne | Lisboa   | リスボン
Geneva | Genf     | Genève   | Ginebra  | ジュネーブ
Prague | Prag     | Prague   | Praga    | プラハ
Warsaw | Warschau | Varsovie | Varsovia | ワルシャワ
Munich | München  | Munich   | Múnich   | ミュンヘン
"""

_PLACES = """
in_the_park     | im_Park                                | dans_le_parc / au_parc   | en_el_parque                         | 公園で
at_the_station  | am_Bahnhof                             | à_la_gare                | en_la_estación                       | 駅で
in_the_library  | in_der_Bibliothek / in_der_Bücherei    | à_la_bibliothèque        | en_la_biblioteca                     | 図書館で
at_the_market   | auf_dem_Markt                          | au_marché                | en_el_mercado                        | 市場で / マーケットで
in_the_hotel    | im_Hotel                               | à_l'hôtel                | en_el_hotel                          | ホテルで
at_school       | in_der_Schule                          | à_l'école                | en_la_escuela / en_el_colegio        | 学校で
at_the_harbor   | am_Hafen                               | au_port                  | en_el_puerto                         | 港で
"""  # noqa: E501

_TIMES = """
yesterday      | gestern                                 | hier                     | ayer                                 | 昨日
this_morning   | heute_Morgen / heute_früh               | ce_matin                 | esta_mañana                          | 今朝
last_week      | letzte_Woche / in_der_vergangenen_Woche | la_semaine_dernière      | la_semana_pasada                     | 先週
last_month     | letzten_Monat / im_vergangenen_Monat    | le_mois_dernier          | el_mes_pasado                        | 先月
last_summer    | letzten_Sommer / im_vergangenen_Sommer  | l'été_dernier            | el_verano_pasado                     | 去年の夏 / 昨年の夏
last_year      | letztes_Jahr / im_vergangenen_Jahr      | l'année_dernière / l'an_dernier | el_año_pasado                 | 去年 / 昨年
on_Monday      | am_Montag                               | lundi                    | el_lunes                             | 月曜日に
on_Tuesday     | am_Dienstag                             | mardi                    | el_martes                            | 火曜日に
on_Thursday    | am_Donnerstag                           | jeudi                    | el_jueves                            | 木曜日に
on_Friday      | am_Freitag                              | vendredi                 | el_viernes                           | 金曜日に
in_January     | im_Januar                               | en_janvier / au_mois_de_janvier | en_enero / en_el_mes_de_enero | 1月に
in_March       | im_März                                 | en_mars / au_mois_de_mars | en_marzo / en_el_mes_de_marzo       | 3月に
in_June        | im_Juni                                 | en_juin / au_mois_de_juin | en_junio / en_el_mes_de_junio       | 6月に
in_September   | im_September                            | en_septembre / au_mois_de_septembre | en_septiembre / en_el_mes_de_septiembre | 9月に
in_1985        | 1985 / im_Jahr_1985                     | en_1985                  | en_1985 / en_el_año_1985             | 1985年に
in_1992        | 1992 / im_Jahr_1992                     | en_1992                  | en_1992 / en_el_año_1992             | 1992年に
in_1998        | 1998 / im_Jahr_1998                     | en_1998                  | en_1998 / en_el_año_1998             | 1998年に
in_2004        | 2004 / im_Jahr_2004                     | en_2004                  | en_2004 / en_el_año_2004             | 2004年に
"""  # noqa: E501

_NUMBERS = """
two   | zwei | deux   | dos    | 二
three | drei | trois  | tres   | 三
four  | vier | quatre | cuatro | 四
five  | fünf | cinq   | cinco  | 五
"""

Forms = tuple[str, ...]


class Word(NamedTuple):
    """A concept in one language: the forms of the usual word, and those of its synonym (the same if it has none)."""

    usual: Forms
    synonym: Forms

    def forms(self, synonym: bool) -> Forms:
        """The forms of one of the two."""
        return self.synonym if synonym else self.usual


Table = dict[str, dict[str, Word]]


def _word(cell: str) -> Word:
    usual, _, synonym = cell.partition(" / ")
    forms = [tuple(form.replace("_", " ") for form in part.split()) for part in (usual, synonym or usual)]
    return Word(*forms)


def _rows(text: str) -> list[list[str]]:
    return [line.split("|") for line in text.strip().split("\n")]


def _table(text: str) -> Table:
    """The concepts of a part of the lexicon: ``table[concept][language]`` is a :class:`Word`."""
    table: Table = {}
    for cells in _rows(text):
        words = dict(zip(LANGUAGES, map(_word, cells), strict=False))
        table[words["en"].usual[0]] = words
    return table


def _last_column(text: str) -> dict[str, list[str]]:
    return {_word(cells[0]).usual[0]: cells[-1].split() for cells in _rows(text)}


NAMES: dict[str, tuple[str, str]] = {
    name: (gender, japanese) for name, gender, japanese in (line.split() for line in _NAMES.strip().split("\n"))
}
ROLES, THINGS, ADJECTIVES = _table(_ROLES), _table(_THINGS), _table(_ADJECTIVES)
DEEDS, ENCOUNTERS, JOURNEYS, QUALITIES = map(_table, (_DEEDS, _ENCOUNTERS, _JOURNEYS, _QUALITIES))
CITIES, PLACES, TIMES, NUMBERS = map(_table, (_CITIES, _PLACES, _TIMES, _NUMBERS))
OBJECTS = _last_column(_DEEDS)
PARTICLES = {verb: particle for verb, (particle,) in _last_column(_ENCOUNTERS).items()}
PEOPLE = (*NAMES, *ROLES)
VERBS = {**DEEDS, **ENCOUNTERS, **JOURNEYS}
#: Everything that has a synonym in some language.
SYNONYMS = sorted(
    concept
    for table in (ROLES, THINGS, VERBS, PLACES, TIMES)
    for concept, words in table.items()
    if any(word.usual != word.synonym for word in words.values())
)

_OPPOSITE_PAIRS = [("bought", "sold"), ("found", "lost"), ("built", "destroyed"), ("opened", "closed")]
_OPPOSITE_PAIRS += [("sent", "received"), ("hired", "dismissed"), ("criticized", "defended")]
_OPPOSITE_PAIRS += list(zip(list(QUALITIES)[::2], list(QUALITIES)[1::2], strict=True))
OPPOSITES = dict([*_OPPOSITE_PAIRS, *(pair[::-1] for pair in _OPPOSITE_PAIRS)])

_COLOURS = ("red", "blue", "green", "black", "white", "expensive")
_OF_TEXTS = ("famous", "difficult", "sad", "romantic")
_OF_BUILDINGS = ("modern", "famous", "white", "expensive")
#: What happens to people: nobody wants to lose a key, and a passive of it sounds odd in most languages.
UNWANTED = ("lost", "received")
BUILDINGS = ("house", "bridge", "tower", "museum")


def adjectives_of(noun: str) -> tuple[str, ...]:
    """The adjectives that go with a thing."""
    if noun in ("book", "letter", "poem"):
        return _OF_TEXTS
    return _OF_BUILDINGS if noun in BUILDINGS else _COLOURS


# Meanings


@dataclass(frozen=True)
class Thing:
    """``the red car``, ``a red car`` or ``three red cars``."""

    noun: str
    adjective: str | None = None
    count: str = "the"
    """``the``, ``a`` or a key of :data:`NUMBERS`."""


@dataclass(frozen=True)
class Clause:
    """Someone did something to a thing or a person, or went from one city to another."""

    verb: str
    agent: str
    patient: Thing | str | None = None
    """A thing, a person, or None for a journey."""
    place: str | None = None
    """A city or a place."""
    time: str | None = None
    mood: str = "did"
    """``did``, ``not`` (did not do it) or ``wanted`` (to do it)."""
    route: tuple[str, str] | None = None
    """Cities of departure and arrival of a journey."""

    @property
    def bars_passive(self) -> bool:
        """Whether only the active voice sounds natural."""
        vague = isinstance(self.patient, Thing) and self.patient.count == "a" and self.mood == "not"
        return self.patient is None or self.mood == "wanted" or self.verb in UNWANTED or vague


@dataclass(frozen=True)
class Comparison:
    """The first person has more of a quality than the second."""

    quality: str
    first: str
    second: str


@dataclass(frozen=True)
class Compound:
    """Two clauses: ``main`` because, when, and, but ``other``."""

    conjunction: str
    main: Clause
    other: Clause


Meaning = Clause | Comparison | Compound


@dataclass(frozen=True)
class Style:
    """Which way of saying a meaning is taken. The default is the plain one."""

    passive: bool = False
    time_first: bool = False
    reordered: bool = False
    """The subordinate clause, or the place of arrival, comes first."""
    synonyms: frozenset[str] = frozenset()
    """Concepts for which the language's synonym is used, if it has one."""
    other_tense: bool = False
    """Not in English: perfect for past (de, es), simple past for perfect (fr), plain for polite (ja)."""
    object_first: bool = False
    """Not in English: what would be a passive is active with its object in front."""


# The five languages. Each renders a clause as the words of a main or subordinate clause, without a full stop.


def _gender(patient: Thing | str, language: str, style: Style) -> str:
    if isinstance(patient, Thing):
        return _forms(patient.noun, THINGS, language, style)[0]
    return NAMES[patient][0] if patient in NAMES else _role(patient, language, style)[0]


def _role(person: str, language: str, style: Style) -> Forms:
    return ROLES[person][language].forms(person in style.synonyms)


def _phrase(concept: str, table: Table, language: str, style: Style) -> str:
    return table[concept][language].forms(concept in style.synonyms)[0]


def _forms(concept: str, table: Table, language: str, style: Style) -> Forms:
    return table[concept][language].forms(concept in style.synonyms)


def _joined(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _plural(patient: Thing | str | None) -> bool:
    return isinstance(patient, Thing) and patient.count in NUMBERS


def _passive(clause: Clause, style: Style) -> bool:
    return style.passive and not clause.bars_passive


def _where(clause: Clause, language: str, style: Style, preposition: str) -> str | None:
    if clause.place is None:
        return None
    if clause.place in CITIES:
        return f"{preposition} {CITIES[clause.place][language].usual[0]}"
    return _phrase(clause.place, PLACES, language, style)


def _when(clause: Clause, language: str, style: Style) -> str | None:
    return clause.time and _phrase(clause.time, TIMES, language, style)


# English


def _english_np(patient: Thing | str, style: Style) -> str:
    if isinstance(patient, str):
        return patient if patient in NAMES else f"the {_role(patient, 'en', style)[0]}"
    singular, plural = _forms(patient.noun, THINGS, "en", style)
    words = _joined(patient.adjective, plural if _plural(patient) else singular)
    if patient.count == "a":
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
    return f"{patient.count} {words}"


def _english_clause(clause: Clause, style: Style) -> str:
    past, participle, infinitive = _forms(clause.verb, VERBS, "en", style)
    agent = _english_np(clause.agent, style)
    deed = {"did": past, "not": f"did not {infinitive}", "wanted": f"wanted to {infinitive}"}[clause.mood]
    if clause.route:
        path = [f"from {clause.route[0]}", f"to {clause.route[1]}"]
        core = _joined(agent, deed, *(path[::-1] if style.reordered else path))
    elif clause.patient is None:
        core = _joined(agent, deed)
    elif _passive(clause, style):
        be = "were" if _plural(clause.patient) else "was"
        negation = "not" if clause.mood == "not" else None
        core = _joined(_english_np(clause.patient, style), be, negation, participle, "by", agent)
    else:
        core = _joined(agent, deed, _english_np(clause.patient, style))
    where, when = _where(clause, "en", style, "in"), _when(clause, "en", style)
    return _joined(when and when + ",", core, where) if style.time_first and when else _joined(core, where, when)


def _english(meaning: Meaning, style: Style) -> str:
    match meaning:
        case Clause():
            return _sentence(_english_clause(meaning, style))
        case Comparison(quality, first, second):
            return _sentence(f"{_english_np(first, style)} was {quality} than {_english_np(second, style)}")
        case Compound(conjunction, main, other):
            first, second = _english_clause(main, style), _english_clause(other, replace(style, passive=False))
            if conjunction in ("and", "but"):
                return _sentence(f"{first}{',' if conjunction == 'but' else ''} {conjunction} {second}")
            return _sentence(
                f"{conjunction} {second}, {first}" if style.reordered else f"{first} {conjunction} {second}"
            )


# German

_GERMAN_THE = {
    "nominative": {"m": "der", "f": "die", "n": "das"},
    "accusative": {"m": "den", "f": "die", "n": "das"},
}
_GERMAN_A = {
    "nominative": {"m": ("ein", "er"), "f": ("eine", "e"), "n": ("ein", "es")},
    "accusative": {"m": ("einen", "en"), "f": ("eine", "e"), "n": ("ein", "es")},
}


def _german_np(patient: Thing | str, case: str, style: Style, negated: bool = False) -> str:
    if isinstance(patient, str):
        if patient in NAMES:
            return patient
        gender, noun = _role(patient, "de", style)
        return f"{_GERMAN_THE[case][gender]} {noun}"
    gender, singular, plural = _forms(patient.noun, THINGS, "de", style)
    stem = patient.adjective and ADJECTIVES[patient.adjective]["de"].usual[0]
    if _plural(patient):
        return _joined(NUMBERS[patient.count]["de"].usual[0], stem and stem + "e", plural)
    if patient.count == "a":
        article, ending = _GERMAN_A[case][gender]
        return _joined("k" * negated + article, stem and stem + ending, singular)
    ending = "en" if (case, gender) == ("accusative", "m") else "e"
    return _joined(_GERMAN_THE[case][gender], stem and stem + ending, singular)


def _german_by(agent: str, style: Style) -> str:
    if agent in NAMES:
        return f"von {agent}"
    gender, noun = _role(agent, "de", style)
    return f"vom {noun}" if gender == "m" else f"von der {noun}"


def _german_clause(clause: Clause, style: Style, verb_at: str = "second") -> str:
    """``verb_at``: ``second`` (main clause), ``first`` (main clause behind another) or ``last`` (subordinate)."""
    past, participle, infinitive = _forms(clause.verb, VERBS, "de", style)
    subject = _german_np(clause.agent, "nominative", style)
    finite, end = past, ""
    if clause.mood == "wanted":
        finite, end = "wollte", infinitive
    elif style.other_tense:
        finite, end = "ist" if clause.route else "hat", participle
    where, when = _where(clause, "de", style, "in"), _when(clause, "de", style)
    time_first = style.time_first and when is not None and verb_at == "second"
    middle = None if time_first else when
    field, front = "", when if time_first else None
    negation = "nicht" if clause.mood == "not" else None
    if clause.route:
        origin, goal = (CITIES[city]["de"].usual[0] for city in clause.route)
        if style.reordered:
            front, field = f"von {origin}", _joined(when, negation, f"nach {goal}")
        else:
            field = _joined(middle, negation, f"von {origin} nach {goal}")
    elif clause.patient is not None:
        vague = isinstance(clause.patient, Thing) and clause.patient.count == "a"
        patient = _german_np(clause.patient, "accusative", style, negated=vague and negation is not None)
        # A name or a woman does not show its case: an object in front would be read as the subject.
        clear = isinstance(clause.patient, Thing) or _german_np(clause.patient, "nominative", style) != patient
        if _passive(clause, style) and style.object_first and clear and verb_at == "second":
            front, field = patient, _joined(when, where, negation)
        elif _passive(clause, style):
            subject = _german_np(clause.patient, "nominative", style)
            finite, end = "wurden" if _plural(clause.patient) else "wurde", participle
            field = _joined(middle, where, _german_by(clause.agent, style), negation)
        elif negation and not vague:
            field = _joined(patient, middle, where, negation)
        elif isinstance(clause.patient, str):
            field = _joined(middle, patient, where)
        else:
            field = _joined(middle, where, patient)
    if verb_at == "last":
        return _joined(subject, field, end, finite)
    if verb_at == "first":
        return _joined(finite, subject, field, end)
    return _joined(front, finite, subject, field, end) if front else _joined(subject, finite, field, end)


def _german(meaning: Meaning, style: Style) -> str:
    match meaning:
        case Clause():
            return _sentence(_german_clause(meaning, style))
        case Comparison(quality, first, second):
            a, b = (_german_np(person, "nominative", style) for person in (first, second))
            return _sentence(f"{a} war {QUALITIES[quality]['de'].usual[0]} als {b}")
        case Compound(conjunction, main, other):
            word = {"because": "weil", "when": "als", "and": "und", "but": "aber"}[conjunction]
            plain = replace(style, passive=False)
            if conjunction in ("and", "but"):
                comma = "," if conjunction == "but" else ""
                return _sentence(f"{_german_clause(main, style)}{comma} {word} {_german_clause(other, plain)}")
            subordinate = f"{word} {_german_clause(other, plain, 'last')}"
            if style.reordered:
                return _sentence(f"{subordinate}, {_german_clause(main, style, 'first')}")
            return _sentence(f"{_german_clause(main, style)}, {subordinate}")


# French


def _elided(word: str, following: str) -> str:
    """``le``, ``la``, ``ne``, ``que`` before another word."""
    return f"{word[:-1]}'{following}" if following[0].lower() in "aeiouéèê" else f"{word} {following}"


def _french_np(patient: Thing | str, style: Style, article: str | None = None) -> str:
    if isinstance(patient, str):
        if patient in NAMES:
            return patient
        gender, noun = _role(patient, "fr", style)
        return _elided("le" if gender == "m" else "la", noun)
    gender, singular, plural = _forms(patient.noun, THINGS, "fr", style)
    adjective = patient.adjective and ADJECTIVES[patient.adjective]["fr"].usual[gender == "f"]
    if _plural(patient):
        return _joined(NUMBERS[patient.count]["fr"].usual[0], plural, adjective and adjective + "s")
    words = _joined(singular, adjective)
    if patient.count == "the":
        return _elided("le" if gender == "m" else "la", words)
    if article:
        return _elided(article, words)
    return f"{'un' if gender == 'm' else 'une'} {words}"


def _agreed(participle: str, feminine: bool, plural: bool, endings: Sequence[str]) -> str:
    """The participle with the ending of (masculine, feminine, masculine plural, feminine plural)."""
    return participle + endings[2 * plural + feminine]


def _french_clause(clause: Clause, style: Style) -> str:
    participle, infinitive, past = _forms(clause.verb, VERBS, "fr", style)
    agent = _french_np(clause.agent, style)
    negated = clause.mood == "not"
    if clause.mood == "wanted":
        deed = f"voulait {infinitive}"
    elif style.other_tense:
        deed = past
        if negated:
            head, _, tail = past.partition(" ")
            deed = _joined(_elided("ne", head), "pas", tail)
    else:
        deed = f"n'a pas {participle}" if negated else f"a {participle}"
    where, when = _where(clause, "fr", style, "à"), _when(clause, "fr", style)
    if clause.route:
        origin, goal = (CITIES[city]["fr"].usual[0] for city in clause.route)
        path = f"jusqu'à {goal} depuis {origin}" if style.reordered else f"de {origin} à {goal}"
        core = _joined(agent, deed, path)
    elif clause.patient is None:
        core = _joined(agent, deed)
    elif _passive(clause, style) and style.object_first and not negated and not style.other_tense:
        core = f"c'est {_joined(agent, 'qui', deed, _french_np(clause.patient, style))}"
    elif _passive(clause, style):
        plural, patient = _plural(clause.patient), clause.patient
        be = "ont" if plural else "a"
        been = f"n'{be} pas été" if negated else f"{be} été"
        agreed = _agreed(participle, _gender(patient, "fr", style) == "f", plural, ("", "e", "s", "es"))
        core = _joined(_french_np(patient, style), been, agreed, "par", agent)
    else:
        core = _joined(agent, deed, _french_np(clause.patient, style, article="de" if negated else None))
    return _joined(when and when + ",", core, where) if style.time_first and when else _joined(core, where, when)


def _french(meaning: Meaning, style: Style) -> str:
    match meaning:
        case Clause():
            return _sentence(_french_clause(meaning, style))
        case Comparison(quality, first, second):
            adjective = QUALITIES[quality]["fr"].usual[_gender(first, "fr", style) == "f"]
            return _sentence(
                f"{_french_np(first, style)} était {adjective} {_elided('que', _french_np(second, style))}"
            )
        case Compound(conjunction, main, other):
            first, second = _french_clause(main, style), _french_clause(other, replace(style, passive=False))
            if conjunction in ("and", "but"):
                return _sentence(f"{first} et {second}" if conjunction == "and" else f"{first}, mais {second}")
            subordinate = f"quand {second}" if conjunction == "when" else f"parce {_elided('que', second)}"
            return _sentence(f"{subordinate}, {first}" if style.reordered else f"{first} {subordinate}")


# Spanish


def _spanish_np(patient: Thing | str, style: Style) -> str:
    if isinstance(patient, str):
        if patient in NAMES:
            return patient
        gender, noun = _role(patient, "es", style)
        return f"{'el' if gender == 'm' else 'la'} {noun}"
    gender, singular, plural = _forms(patient.noun, THINGS, "es", style)
    form = 2 * _plural(patient) + (gender == "f")
    adjective = patient.adjective and ADJECTIVES[patient.adjective]["es"].usual[form]
    if _plural(patient):
        return _joined(NUMBERS[patient.count]["es"].usual[0], plural, adjective)
    articles = {"the": ("el", "la"), "a": ("un", "una")}[patient.count]
    return _joined(articles[gender == "f"], singular, adjective)


def _spanish_to(person: str, style: Style) -> str:
    """The personal object: ``a Anna``, ``al juez``."""
    words = _spanish_np(person, style)
    return "al " + words[3:] if words.startswith("el ") else f"a {words}"


def _spanish_clause(clause: Clause, style: Style) -> str:
    past, participle, infinitive = _forms(clause.verb, VERBS, "es", style)
    agent, patient = _spanish_np(clause.agent, style), clause.patient
    negation = "no" if clause.mood == "not" else None
    perfect = style.other_tense and clause.time in (None, "this morning")  # not of what is over and done
    deed = f"quería {infinitive}" if clause.mood == "wanted" else f"ha {participle}" if perfect else past
    where, when = _where(clause, "es", style, "en"), _when(clause, "es", style)
    if clause.route:
        origin, goal = (CITIES[city]["es"].usual[0] for city in clause.route)
        path = f"a {goal} desde {origin}" if style.reordered else f"de {origin} a {goal}"
        core = _joined(agent, negation, deed, path)
    elif patient is None:
        core = _joined(agent, negation, deed)
    else:
        words = _spanish_to(patient, style) if isinstance(patient, str) else _spanish_np(patient, style)
        feminine, plural = _gender(patient, "es", style) == "f", _plural(patient)
        definite = isinstance(patient, str) or patient.count == "the"
        if _passive(clause, style) and style.object_first and definite:
            core = _joined(words, negation, "la" if feminine else "lo", deed, agent)
        elif _passive(clause, style):
            agreed = _agreed(participle[:-1], feminine, plural, ("o", "a", "os", "as"))
            be = "fueron" if plural else "fue"
            core = _joined(_spanish_np(patient, style), negation, be, agreed, "por", agent)
        else:
            core = _joined(agent, negation, deed, words)
    return _joined(when and when + ",", core, where) if style.time_first and when else _joined(core, where, when)


def _spanish(meaning: Meaning, style: Style) -> str:
    match meaning:
        case Clause():
            return _sentence(_spanish_clause(meaning, style))
        case Comparison(quality, first, second):
            adjective = QUALITIES[quality]["es"].usual[_gender(first, "es", style) == "f"]
            return _sentence(f"{_spanish_np(first, style)} era {adjective} que {_spanish_np(second, style)}")
        case Compound(conjunction, main, other):
            style = replace(style, other_tense=False)
            first, second = _spanish_clause(main, style), _spanish_clause(other, replace(style, passive=False))
            if conjunction in ("and", "but"):
                return _sentence(f"{first} y {second}" if conjunction == "and" else f"{first}, pero {second}")
            word = "cuando" if conjunction == "when" else "porque"
            return _sentence(f"{word} {second}, {first}" if style.reordered else f"{first} {word} {second}")


# Japanese


def _japanese_person(person: str, style: Style) -> str:
    if person in NAMES:
        return NAMES[person][1] + ("さん" if person in style.synonyms else "")
    return _role(person, "ja", style)[0]


def _japanese_thing(thing: Thing, style: Style, particle: str) -> str:
    noun, counter = _forms(thing.noun, THINGS, "ja", style)
    adjective = ADJECTIVES[thing.adjective]["ja"].usual[0] if thing.adjective else ""
    if thing.count in NUMBERS:
        return f"{adjective}{noun}{particle}{NUMBERS[thing.count]['ja'].usual[0]}{counter}"
    return f"{'その' if thing.count == 'the' else ''}{adjective}{noun}{particle}"


def _japanese_verb(stem: str, past: str, negative: str, mood: str, polite: bool) -> str:
    if mood == "wanted":
        # たがる: it is another person's wish
        return f"{stem}たがって{'いました' if polite else 'いた'}"
    if polite:
        return f"{stem}ませんでした" if mood == "not" else f"{stem}ました"
    return negative if mood == "not" else past


def _japanese_clause(clause: Clause, style: Style, topic: str = "は", polite: bool = True) -> str:
    stem, past, negative, passive_stem = _forms(clause.verb, VERBS, "ja", style)
    agent = _japanese_person(clause.agent, style)
    where, when = _where(clause, "ja", style, "") or "", _when(clause, "ja", style) or ""
    if clause.place in CITIES:
        where = f"{where.strip()}で"
    subject, field = f"{agent}{topic}", ""
    if clause.route:
        origin, goal = (CITIES[city]["ja"].usual[0] for city in clause.route)
        field = f"{goal}へ{origin}から" if style.reordered else f"{origin}から{goal}へ"
    elif clause.patient is not None:
        person = isinstance(clause.patient, str)
        if _passive(clause, style):
            numbered = _plural(clause.patient)
            particle = "が" if numbered else topic
            by = f"{agent}{'に' if person else 'によって'}"
            if style.object_first and not numbered:
                by = f"{agent}が"
            else:
                stem, past, negative = passive_stem, f"{passive_stem}た", f"{passive_stem}なかった"
            patient = clause.patient
            subject = (
                f"{_japanese_person(patient, style)}{particle}"
                if isinstance(patient, str)
                else _japanese_thing(patient, style, particle)
            )
            field = by
        elif isinstance(clause.patient, str):
            field = f"{_japanese_person(clause.patient, style)}{PARTICLES[clause.verb]}"
        else:
            field = _japanese_thing(clause.patient, style, "を")
    verb = _japanese_verb(stem, past, negative, clause.mood, polite)
    if _passive(clause, style) and _plural(clause.patient):
        return f"{when}{'、' if style.time_first and when else ''}{where}{subject}{field}{verb}"
    if style.time_first and when:
        return f"{when}、{subject}{where}{field}{verb}"
    return f"{subject}{when}{where}{field}{verb}"


def _japanese(meaning: Meaning, style: Style) -> str:
    polite = not style.other_tense
    match meaning:
        case Clause():
            return _japanese_clause(meaning, style, polite=polite) + "。"
        case Comparison(quality, first, second):
            word, copula = QUALITIES[quality]["ja"].usual
            if copula == "だ":
                ending = "でした" if polite else "だった"
            else:
                word, ending = word[:-1], "かったです" if polite else "かった"
            return f"{_japanese_person(first, style)}は{_japanese_person(second, style)}より{word}{ending}。"
        case Compound(conjunction, main, other):
            plain = replace(style, passive=False)
            last = _japanese_clause(main, style, polite=polite)
            if conjunction in ("and", "but"):
                link = "。そして、" if conjunction == "and" else "が、"
                return f"{last}{link}{_japanese_clause(other, plain, polite=polite)}。"
            subordinate = _japanese_clause(other, plain, "が", polite=False)
            if conjunction == "because":
                if style.reordered:
                    return f"{subordinate}ので、{last}。"
                return f"{last}。{subordinate}から{'です' if polite else 'だ'}。"
            if style.reordered:
                return f"{subordinate}とき、{last}。"
            return f"{last}。{subordinate}ときのこと{'です' if polite else 'だ'}。"


_RENDERERS: dict[str, Callable[[Meaning, Style], str]] = {
    "en": _english,
    "de": _german,
    "fr": _french,
    "es": _spanish,
    "ja": _japanese,
}


def render(language: str, meaning: Meaning, style: Style = Style()) -> str:
    """The sentence of a meaning in a language; without a style, the plain one."""
    return _RENDERERS[language](meaning, style)


# Chance: sentences, paraphrases and near misses. Everything draws from the generator that is handed in.


@dataclass(frozen=True)
class Pair:
    """Two sentences without a language, and whether they mean the same."""

    label: int
    first: tuple[Meaning, Style]
    second: tuple[Meaning, Style]


def _two_people(rng: random.Random) -> tuple[str, str]:
    first, second = rng.sample(PEOPLE, 2)
    return first, second


def _random_thing(rng: random.Random, noun: str) -> Thing:
    adjective = rng.choice(adjectives_of(noun)) if rng.random() < 0.5 else None
    count = rng.choice(list(NUMBERS)) if rng.random() < 0.2 else rng.choice(["the", "the", "a"])
    return Thing(noun, adjective, count)


def _random_clause(rng: random.Random, short: bool = False) -> Clause:
    """A clause that tells what was done; ``short`` ones have neither place nor time."""
    agent, patient = _two_people(rng)
    time = rng.choice(list(TIMES)) if not short and rng.random() < 0.65 else None
    kind = rng.random()
    if kind < 0.15 and not short:
        departure, arrival = rng.sample(list(CITIES), 2)
        return Clause(rng.choice(list(JOURNEYS)), agent, time=time, route=(departure, arrival))
    place = rng.choice([*CITIES, *PLACES]) if not short and rng.random() < 0.4 else None
    if kind < 0.45:
        return Clause(rng.choice(list(ENCOUNTERS)), agent, patient, place, time)
    verb = rng.choice(list(DEEDS))
    thing = _random_thing(rng, rng.choice(OBJECTS[verb]))
    if place is not None and thing.noun in (*BUILDINGS, "door", "window", "boat"):
        place = rng.choice(list(CITIES))
    return Clause(verb, agent, thing, place, time)


def random_meaning(rng: random.Random, moody: float = 0.05) -> Meaning:
    """Something that happened, was compared or was explained.

    Args:
        rng: where chance comes from.
        moody: how often it did not happen, or was only wanted.
    """
    kind = rng.random()
    if kind < 0.07:
        return Comparison(rng.choice(list(QUALITIES)), *_two_people(rng))
    mood = rng.choice(["not", "wanted"]) if rng.random() < moody else "did"
    if kind < 0.22:
        conjunction = rng.choice(["because", "because", "when", "and", "but"])
        main, other = _random_clause(rng, short=True), _random_clause(rng, short=True)
        while {main.agent, main.patient} & {other.agent, other.patient}:
            other = _random_clause(rng, short=True)
        return Compound(conjunction, _in_mood(main, mood), other)
    return _in_mood(_random_clause(rng), mood)


def _in_mood(clause: Clause, mood: str) -> Clause:
    """The clause in that mood, or as it was if the mood does not suit it."""
    # "did not buy three cars" says neither how many were bought nor that none was: not a clear label.
    unclear = mood == "not" and _plural(clause.patient)
    odd = mood == "wanted" and clause.verb in UNWANTED
    return clause if unclear or odd else replace(clause, mood=mood)


def random_style(rng: random.Random, rate: float = 0.1) -> Style:
    """How people say things: mostly in the plain way, with synonyms at the given rate."""
    return Style(
        passive=rng.random() < 0.2,
        time_first=rng.random() < 0.3,
        reordered=rng.random() < 0.3,
        synonyms=_some_synonyms(rng, rate),
    )


def _some_synonyms(rng: random.Random, rate: float) -> frozenset[str]:
    return frozenset(concept for concept in (*SYNONYMS, *NAMES) if rng.random() < rate)


def _other(rng: random.Random, concepts: Sequence[str], than: str | None) -> str:
    return rng.choice([concept for concept in concepts if concept != than])


def near_miss(rng: random.Random, meaning: Meaning) -> Meaning:
    """A meaning that differs from the given one in a single point."""
    match meaning:
        case Comparison(quality, first, second):
            if rng.random() < 0.5:
                return Comparison(quality, second, first)
            return Comparison(OPPOSITES[quality], first, second)
        case Compound(conjunction, main, other):
            if conjunction in ("because", "when") and other.verb != main.verb and rng.random() < 0.4:
                return Compound(conjunction, other, main)
            return replace(meaning, main=rng.choice(_near_misses(rng, main)))
        case Clause():
            return rng.choice(_near_misses(rng, meaning))


def _near_misses(rng: random.Random, clause: Clause) -> list[Clause]:
    """One of every kind that the clause allows; a kind that is to be met more often stands here several times."""
    if clause.mood == "did":
        moods = [_in_mood(clause, "not"), _in_mood(clause, "wanted")]
        found = [mood for mood in moods if mood != clause] * 2
    else:
        found = [replace(clause, mood="did")] * 4
    if clause.time:
        found += [replace(clause, time=_other(rng, list(TIMES), clause.time))] * 2
    if clause.verb in OPPOSITES and not (clause.mood == "wanted" and OPPOSITES[clause.verb] in UNWANTED):
        found += [replace(clause, verb=OPPOSITES[clause.verb])] * 2
    if clause.place:
        found.append(replace(clause, place=_other(rng, list(CITIES), clause.place)))
    if clause.route:
        found += [replace(clause, route=clause.route[::-1])] * 3
    if isinstance(clause.patient, str):
        found += [replace(clause, agent=clause.patient, patient=clause.agent)] * 3
    elif isinstance(clause.patient, Thing):
        thing = clause.patient
        if thing.count in NUMBERS:
            found += [replace(clause, patient=replace(thing, count=_other(rng, list(NUMBERS), thing.count)))] * 2
        if thing.adjective:
            colour = _other(rng, adjectives_of(thing.noun), thing.adjective)
            found.append(replace(clause, patient=replace(thing, adjective=colour)))
    return found


def paraphrase(rng: random.Random, meaning: Meaning, style: Style) -> tuple[Meaning, Style]:
    """The same said in another way, in one or two points where the meaning allows it."""
    ways: list[tuple[Meaning, Style]] = []
    clause = meaning.main if isinstance(meaning, Compound) else meaning
    if isinstance(meaning, Comparison):
        ways.append((Comparison(OPPOSITES[meaning.quality], meaning.second, meaning.first), style))
    if isinstance(meaning, Compound) and meaning.conjunction == "and" and not style.passive:
        ways.append((Compound("and", meaning.other, meaning.main), style))
    if isinstance(meaning, Compound) and meaning.conjunction in ("because", "when"):
        ways += [(meaning, replace(style, reordered=not style.reordered))] * 2
    if isinstance(clause, Clause):
        if clause.route:
            ways += [(meaning, replace(style, reordered=not style.reordered))] * 2
        if clause.time:
            ways.append((meaning, replace(style, time_first=not style.time_first)))
        if not clause.bars_passive:
            ways += [(meaning, replace(style, passive=not style.passive))] * 3
    said = _concepts(meaning)
    known = [concept for concept in said if _has_synonym(concept, "en")]
    if known:
        ways.append((meaning, replace(style, synonyms=style.synonyms ^ {rng.choice(known)})))
    if not ways:  # nothing to say differently in English: the two sentences are the same there
        return meaning, style
    changed, styled = rng.choice(ways)
    if known and rng.random() < 0.3:
        styled = replace(styled, synonyms=styled.synonyms ^ {rng.choice(known)})
    return changed, styled


def _concepts(meaning: Meaning) -> list[str]:
    """The concepts of a meaning, in a fixed order."""
    match meaning:
        case Comparison(quality, first, second):
            return [quality, first, second]
        case Compound(_, main, other):
            return _concepts(main) + _concepts(other)
        case Clause():
            patient = meaning.patient.noun if isinstance(meaning.patient, Thing) else meaning.patient
            found = [meaning.verb, meaning.agent, patient, meaning.place, meaning.time]
            return [concept for concept in found if concept is not None]


def _has_synonym(concept: str, language: str) -> bool:
    for table in (ROLES, THINGS, VERBS, PLACES, TIMES):
        if concept in table:
            return table[concept][language].usual != table[concept][language].synonym
    return False


def random_pair(rng: random.Random, label: int) -> Pair:
    """Two sentences that mean the same (label 1) or nearly, but not, the same (label 0)."""
    meaning, style = random_meaning(rng), random_style(rng)
    if label == 1:
        return Pair(1, (meaning, style), paraphrase(rng, meaning, style))
    other = near_miss(rng, meaning)
    _, restyled = paraphrase(rng, other, style) if rng.random() < 0.15 else (other, style)
    return Pair(0, (meaning, style), (other, restyled))


@dataclass(frozen=True)
class Flavour:
    """How a writer of a language departs from the plain way, alike in both sentences of a pair."""

    synonyms: frozenset[str] = frozenset()
    other_tense: bool = False
    object_first: bool = False
    moves_time: bool = False

    def of(self, style: Style) -> Style:
        """The style with this flavour. What differs between two styles still differs."""
        return replace(
            style,
            synonyms=style.synonyms ^ self.synonyms,
            time_first=style.time_first ^ self.moves_time,
            other_tense=self.other_tense,
            object_first=self.object_first,
        )


def random_flavour(rng: random.Random, rate: float) -> Flavour:
    """A writer who departs from the plain way in each respect at the given rate."""
    return Flavour(
        _some_synonyms(rng, rate), rng.random() < rate, rng.random() < rate, moves_time=rng.random() < rate / 2
    )
