"""Everyday words of conversations with an assistant, which published counts of news and web text know too little of.

Each counts like a frequent word of its language. A word may stand under several languages.
"""

EVERYDAY = {
    "en": "hi hello hey ok okay yes no yeah yep nope sure thanks thank please sorry bye goodbye help stop continue go on "
    "what why how who when where which can could would should explain write fix show tell give make find list summarize "
    "translate rewrite describe compare define create generate improve check debug test code bug error lol hmm hm cool "
    "great nice wow yo sup good morning night evening welcome gpt python sql javascript java rust docker kubernetes linux "
    "git github regex json yaml html css api bash shell script function class loop array string pytorch numpy pandas",
    "es": "hola gracias adiós sí no vale bueno buenos buenas días tardes noches favor por qué cómo cuál cuándo dónde quién "
    "ayuda ayúdame explica explícame escribe traduce resume dime dame haz puedes quiero necesito perdón hasta luego claro "
    "que como cuanto está estás este esta",
    "fr": "bonjour salut merci oui non bonsoir revoir au s'il vous plaît pardon désolé aide aidez pourquoi comment quel "
    "quelle quand où qui quoi explique expliquez écris écrivez traduis traduire résume dis donne fais peux pouvez je veux "
    "d'accord ça va bien coucou",
    "de": "hallo danke bitte ja nein tschüss moin servus guten tag morgen abend nacht hilfe hilf warum wieso wie was wer "
    "wann wo welche erkläre erklär schreibe schreib übersetze fasse zusammen zeig gib mach kannst können ich möchte "
    "entschuldigung gut genau super alles klar gerne",
    "it": "ciao grazie sì no buongiorno buonasera prego arrivederci per favore scusa aiuto aiutami perché come cosa chi "
    "quando dove quale spiega spiegami scrivi traduci riassumi dimmi dammi fai puoi vorrei voglio va bene che",
    "pt": "olá oi obrigado obrigada sim não tchau bom boa dia tarde noite por favor desculpe ajuda ajude porque como qual "
    "quando onde quem explique escreva traduza resuma diga faça pode você quero preciso tudo bem beleza",
    "nl": "hallo hoi dank bedankt dankjewel ja nee doei alsjeblieft alstublieft goedemorgen goedemiddag goedenavond hulp "
    "waarom hoe wat wie wanneer waar welke leg uit schrijf vertaal geef maak kun je ik wil sorry prima goed",
    "sv": "hej tack ja nej hejdå snälla god morgon kväll hjälp varför hur vad vem när var vilken förklara skriv översätt "
    "sammanfatta berätta ge kan du jag vill förlåt bra okej",
    "da": "hej tak ja nej farvel venligst godmorgen godaften hjælp hvorfor hvordan hvad hvem hvornår hvor hvilken forklar "
    "skriv oversæt fortæl giv kan du jeg vil undskyld godt okay",
    "nb": "hei takk ja nei hade vennligst godmorgen hjelp hvorfor hvordan hva hvem når hvor hvilken forklar skriv oversett "
    "fortell gi kan du jeg vil unnskyld bra greit",
    "nn": "hei takk ja nei hjelp kvifor korleis kva kven når kvar forklar skriv omset fortel eg vil",
    "fi": "hei moi terve kiitos kyllä joo ei näkemiin ole hyvä huomenta apua miksi miten mitä kuka milloin missä selitä "
    "kirjoita käännä kerro anna voitko haluan anteeksi hyvä",
    "is": "halló hæ takk já nei bless hjálp hvers vegna hvernig hvað hver hvenær hvar útskýrðu skrifaðu",
    "pl": "cześć hej dziękuję dzięki tak nie proszę dzień dobry dobranoc widzenia pomoc pomóż dlaczego jak co kto kiedy "
    "gdzie który wyjaśnij napisz przetłumacz streść powiedz daj zrób możesz chcę przepraszam dobrze okej",
    "cs": "ahoj čau děkuji díky ano ne prosím dobrý den ráno večer nashledanou pomoc proč jak co kdo kdy kde který vysvětli "
    "napiš přelož shrň řekni můžeš chci promiň dobře",
    "sk": "ahoj čau ďakujem vďaka áno nie prosím dobrý deň pomoc prečo ako čo kto kedy kde ktorý vysvetli napíš prelož "
    "povedz môžeš chcem prepáč dobre",
    "hu": "szia helló köszönöm kösz igen nem kérem viszlát jó napot reggelt segítség miért hogyan mi ki mikor hol melyik "
    "magyarázd írj fordítsd mondd tudsz akarok bocsánat jól",
    "ro": "bună salut mulțumesc mersi da nu rog pa ziua seara ajutor de ce cum ce cine când unde care explică scrie traduce "
    "rezumă spune poți vreau scuze bine",
    "tr": "merhaba selam teşekkürler teşekkür sağol evet hayır lütfen günaydın iyi günler geceler yardım neden nasıl ne kim "
    "nerede hangi açıkla yaz çevir özetle söyle yap misin istiyorum özür tamam",
    "vi": "xin chào cảm ơn vâng không tạm biệt làm giúp tại sao như thế nào gì ai khi đâu giải thích viết dịch tóm tắt cho "
    "tôi bạn có thể muốn lỗi được",
    "id": "halo hai terima kasih makasih ya tidak selamat pagi siang malam tolong bantu mengapa kenapa bagaimana apa siapa "
    "kapan dimana mana jelaskan tulis terjemahkan ringkas beri buatkan bisa saya ingin mau maaf baik oke kabar",
    "ms": "helo hai terima kasih ya tidak selamat pagi petang tolong bantu mengapa kenapa bagaimana apa siapa bila mana "
    "terangkan tulis terjemahkan boleh awak saya nak mahu maaf baik",
    "tl": "kamusta kumusta salamat oo hindi paalam magandang umaga gabi pakiusap tulong tulungan bakit paano ano sino kailan "
    "saan alin ipaliwanag isulat isalin pwede gusto ko pasensya sige po",
    "sw": "habari jambo hujambo asante ndiyo hapana kwaheri tafadhali msaada kwa nini vipi nini nani lini wapi eleza andika "
    "tafsiri unaweza nataka samahani sawa karibu",
    "ca": "hola gràcies sí no adéu bon dia bona tarda nit si us plau ajuda per què com què qui quan on explica escriu "
    "tradueix pots vull perdó",
    "eu": "kaixo eskerrik asko bai ez agur mesedez egun on laguntza zergatik nola zer nor noiz non azaldu idatzi itzuli",
    "ga": "dia duit go raibh maith agat slán le do thoil cabhair cén fáth conas cad cé cathain mínigh scríobh",
    "cy": "helo diolch ie na hwyl os gwelwch yn dda bore cymorth pam sut beth pwy pryd ble eglura ysgrifenna",
    "sq": "përshëndetje tungjatjeta faleminderit po jo mirupafshim ju lutem mirëdita ndihmë pse si çfarë kush kur ku "
    "shpjego shkruaj përkthe",
    "hr": "bok zdravo hvala da ne molim dobar dan jutro večer pomoć zašto kako što tko kada gdje koji objasni napiši prevedi "
    "reci možeš želim oprosti dobro",
    "bs": "zdravo hvala da ne molim dobar dan pomoć zašto kako šta ko kada gdje koji objasni napiši prevedi reci",
    "sl": "zdravo živjo hvala da ja ne prosim dober dan jutro pomoč zakaj kako kaj kdo kdaj kje kateri razloži napiši prevedi",
    "et": "tere aitäh tänan jah ei palun hüvasti hommikust abi miks kuidas mis kes millal kus selgita kirjuta tõlgi",
    "lv": "sveiki čau paldies jā nē lūdzu labdien labrīt palīdzība kāpēc kā kas kad kur paskaidro uzraksti iztulko",
    "lt": "labas sveiki ačiū taip ne prašau viso gero pagalba kodėl kaip kas kada kur paaiškink parašyk išversk",
    "af": "hallo dankie ja nee asseblief totsiens goeie môre hulp hoekom hoe wat wie wanneer waar verduidelik skryf vertaal",
    "az": "salam təşəkkür sağol bəli xeyr zəhmət olmasa kömək niyə necə nə kim haqqında izah yaz tərcümə",
    "eo": "saluton dankon jes ne bonvolu ĝis bonan tagon helpo kial kiel kio kiu kiam kie klarigu skribu traduku",
    "so": "salaan mahadsanid haa maya fadlan caawi waayo sidee maxay yaa goorma halkee sharax qor",
    "yo": "báwo ẹ kú àárọ̀ ẹ ṣé bẹ́ẹ̀ni rárá jọ̀wọ́ ìrànlọ́wọ́",
    "zu": "sawubona ngiyabonga yebo cha ngicela usizo kungani kanjani yini ubani nini kuphi",
    "ru": "привет здравствуй здравствуйте спасибо да нет пожалуйста пока до свидания доброе утро добрый день вечер помощь "
    "помоги почему зачем как что кто когда где какой объясни напиши переведи расскажи дай сделай можешь хочу извини "
    "хорошо ладно ок дела",
    "uk": "привіт вітаю дякую так ні прошу будь ласка допобачення добрий ранок день вечір допоможи чому навіщо як що хто "
    "коли де який поясни напиши переклади розкажи дай зроби можеш хочу вибач добре гаразд справи",
    "be": "прывітанне дзякуй так не калі ласка добры дзень дапамажы чаму як што хто калі дзе растлумач напішы перакладзі",
    "bg": "здравей здрасти благодаря мерси да не моля довиждане добро утро добър ден помощ защо как какво кой кога къде "
    "обясни напиши преведи кажи можеш искам извинявай",
    "sr": "здраво ћао хвала да не молим довиђења добар дан помоћ зашто како шта ко када где који објасни напиши преведи "
    "реци можеш желим извини",
    "mk": "здраво благодарам фала да не ве молам добар ден помош зошто како што кој кога каде објасни напиши преведи",
    "kk": "сәлем рахмет иә жоқ өтінемін қайырлы таң көмек неге қалай не кім қашан қайда түсіндір жаз аудар",
    "mn": "сайн байна уу баярлалаа тийм үгүй баяртай тусламж яагаад яаж юу хэн хэзээ хаана тайлбарла бич орчуул",
    "ar": "مرحبا مرحباً أهلا السلام عليكم شكرا شكراً نعم لا من فضلك صباح الخير مساء ساعدني لماذا كيف ما ماذا من متى أين اشرح اكتب "
    "ترجم لخص أخبرني هل يمكنك أريد عفوا حسنا",
    "fa": "سلام مرسی ممنون متشکرم بله نه لطفا خداحافظ صبح بخیر کمک چرا چطور چگونه چه چی کی کجا توضیح بنویس ترجمه کن بگو خلاصه میتوانی خوب",
    "ur": "سلام شکریہ جی ہاں نہیں براہ کرم خدا حافظ صبح بخیر مدد کیوں کیسے کیا کون کب کہاں وضاحت لکھو ترجمہ بتاؤ مجھے",
    "hi": "नमस्ते नमस्कार धन्यवाद शुक्रिया हाँ हां नहीं कृपया अलविदा सुप्रभात मदद क्यों कैसे क्या कौन कब कहाँ समझाओ समझाइए लिखो लिखें अनुवाद बताओ बताइए मुझे",
    "mr": "नमस्कार धन्यवाद हो नाही कृपया निरोप सुप्रभात मदत का कसे काय कोण कधी कुठे समजावून सांगा लिहा भाषांतर मला",
    "ne": "नमस्ते धन्यवाद हो छैन होइन कृपया शुभ प्रभात मद्दत किन कसरी के को कहिले कहाँ बुझाउनुहोस् लेख्नुहोस् अनुवाद मलाई",
}
