"""Requests for particulars of record (dates, names, figures, evidence), and requests for anything else.

To explain a subject, to define a word or to compare two ways is no matter of record. Patterns written for this project.
"""

NEEDS = [
    "{Fact-check|Fact check|Verify|Double-check|Check} {this|the following|this claim|this statement}: {the Great Wall is visible from space|vaccines cause autism|Einstein failed math|humans use ten percent of the brain|the vote was in 1994|coffee stunts growth}{.|}",
    "{Is it true|Is it a fact|Is it accurate} that {bats are blind|the Earth is 6000 years old|goldfish forget in seconds|the company was founded in 1998|Napoleon was short|glass is a liquid}?",
    "{Cite|Give|Provide} {sources|evidence|references|citations} {for|on} {the claim that|} {sugar makes children hyperactive|the effects of caffeine|climate change|the unemployment rate|the side effects of statins}{.|}",
    "{Verify|Confirm|Check} {with|against} {primary |reliable |}sources {whether|that} {the drug is approved|the treaty was signed in 1648|this quote is by Churchill|the figure is correct|the law changed in 2019}{.|}",
    "{Who|What person} {invented|discovered|wrote|founded|composed|won|painted} {the telephone|penicillin|War and Peace|Microsoft|the Ninth Symphony|the 1998 World Cup|the Mona Lisa}?",
    "{When|In what year|On what date} {was|did} {the Berlin Wall built|the Titanic sink|the United Nations founded|World War I end|Marie Curie die|the euro introduced}?",
    "{What is|What's|Tell me} the {capital|population|area|official language|currency|GDP|life expectancy} of {Australia|Brazil|Nigeria|Canada|Japan|Kazakhstan}?",
    "How {many|much} {people live in|countries are in|moons does|bones are in|calories are in} {Tokyo|Africa|Jupiter have|the human body|an apple}?",
    "{What|Which} {is|was} the {largest|longest|highest|oldest|fastest|first} {planet|river|mountain|university|animal|satellite} {in the world|in history|on Earth|}?",
    "{Where|In which country} {is|was} {the Eiffel Tower|Mozart born|the battle of Waterloo|the Amazon|machu picchu|the first Olympics held}?",
    "{What are|List} the {side effects|symptoms|causes|risk factors} of {aspirin|malaria|type 2 diabetes|lead poisoning|metformin|high blood pressure}{?|.}",
    "{What does|What did} {the constitution|the Supreme Court|article 5 of NATO|the GDPR|the study|the report} say about {free speech|abortion|defence|consent|mortality}?",
    "{Did|Does|Do|Has|Was} {Shakespeare write|caffeine cause|antibiotics kill|NASA land on|the president sign|Newton meet} {all his plays|headaches|viruses|Mars|the bill|Leibniz}?",
    "According to {recent studies|official statistics|the WHO|historians|the census}, {what is the mortality rate of measles|how many people smoke|what caused the fall of Rome|how tall is the average adult}?",
    "{What evidence|What scientific evidence|Which studies} {supports|support|is there for|show} {the theory of evolution|that exercise helps memory|global warming|the big bang}?",
    "{Which|What} {company|country|scientist|team} {makes the iPhone|has the most people|discovered radium|won the Champions League in 2005}?",
]

NEEDS += [
    "{Is it|Is this|Was it} {really |actually |}true that {lightning never strikes twice|sugar feeds cancer|the moon landing was faked|cold weather causes colds|Vikings wore horned helmets|we swallow spiders in our sleep}?",
    "{Cite|Find|List|Show me} {recent |peer-reviewed |}{studies|papers|research|sources|data} on {intermittent fasting|vitamin C|sleep and memory|screen time|the gender pay gap|microplastics}{.|}",
    "{Check|Test|Validate} {this|the following|that} {statement|claim|figure|quote} {against|with} {reliable sources|the official data|the literature|the original text}{: |.}{rents rose by 12 percent|it was said by Gandhi|}",
    "{How tall|How old|How deep|How far|How heavy|How long} is {the Burj Khalifa|the universe|the Mariana Trench|the Sun|a blue whale|the Nile}?",
    "What was the {inflation rate|unemployment rate|population|score|death toll|budget} {in Germany in 2022|of Italy last year|of the 1966 final|of the earthquake|of the Apollo programme}?",
    "{When|In which year} did {Nigeria|India|the Berlin Wall|the Titanic|Amazon|the first iPhone} {become independent|fall|sink|go public|come out|gain independence}?",
    "{Which|What} {company|person|country|treaty|law} {acquired GitHub|signed the Magna Carta|owns YouTube|ended the Thirty Years' War|banned the product}?",
    "{Did|Does|Is|Was} {Napoleon win at Austerlitz|the Sun a star|Pluto a planet|Edison invent the light bulb|milk good for bones|Mercury the hottest planet}{?|, according to historians?}",
]

NEEDS_FOREIGN = [
    "¿{En qué año|Cuándo} {cayó el Muro de Berlín|se fundó Roma|murió Franco|llegó el hombre a la Luna}?", "¿{Cuántos habitantes tiene|Qué altura tiene|Cuánto mide} {Madrid|el Everest|el Teide|el Nilo}?", "{En quelle année|Quand} {est tombé le mur de Berlin|a été fondée Rome|est mort Napoléon} ?", "Combien {d'habitants compte|de kilomètres mesure|d'années a duré} {Lyon|la Loire|la guerre de Cent Ans} ?", "{In welchem Jahr|Wann} {fiel die Berliner Mauer|wurde Rom gegründet|starb Goethe}?", "Wer {war|ist|wurde} {der erste Bundeskanzler|der Autor des Faust|Präsident der USA 1960}?", "{珠穆朗玛峰|长江|埃菲尔铁塔}有多{高|长|重}？", "{哪一年|什么时候}{柏林墙倒塌|中国加入世贸组织|发明了互联网}？", "{富士山|東京タワー|ナイル川}の{高さ|長さ}は何メートルですか？", "{何年に|いつ}{ベルリンの壁は崩壊しました|明治維新は始まりました}か？", "Сколько {лет длилась Столетняя война|жителей в Москве|километров до Луны}?", "В каком году {пала Берлинская стена|основан Рим|родился Толстой}?",
    "¿{Quién|Cuándo|Dónde} {descubrió la penicilina|terminó la guerra|nació Cervantes|inventó el teléfono|está Machu Picchu}?", "¿Es {verdad|cierto} que {el café es malo|la Tierra es plana|Einstein era zurdo}?", "{Verifica|Comprueba} con fuentes {si la cifra es correcta|esta afirmación|la fecha del tratado}.", "¿Cuál es la {capital|población} de {Australia|Brasil|Canadá}?",
    "{Qui|Quand|Où} {a découvert la pénicilline|s'est terminée la guerre|est né Molière|a inventé le téléphone} ?", "Est-il vrai que {le café est mauvais|la Terre est plate|Einstein était gaucher} ?", "{Vérifie|Confirme} avec des sources {si ce chiffre est exact|cette affirmation|la date du traité}.", "Quelle est la {capitale|population} de {l'Australie|la Chine} ?",
    "{Wer|Wann|Wo} {hat das Penicillin entdeckt|endete der Krieg|wurde Goethe geboren|hat das Telefon erfunden}?", "Stimmt es, dass {Kaffee ungesund ist|die Erde flach ist|Einstein Linkshänder war}?", "{Prüfe|Überprüfe|Belege} mit Quellen, {ob die Zahl stimmt|diese Behauptung|wann der Vertrag unterzeichnet wurde}.", "Wie {hoch ist der Mount Everest|viele Einwohner hat Berlin|alt ist die Erde}?",
    "{谁|是谁}{发明了电话|发现了青霉素|写了红楼梦}？", "{中国|澳大利亚|巴西}的{首都|人口|面积}是{什么|多少}？", "{这是真的吗|核实一下|请查证来源}：{地球是平的|咖啡有害健康|这个数字|爱因斯坦数学不及格}", "{第二次世界大战|长城|法国大革命}是{什么时候|哪一年}{结束|建造|开始}的？", "请{引用来源|提供证据}{证明|说明}{气候变化|这种药的副作用}。",
    "{誰が|いつ|どこで}{ペニシリンを発見しました|電話を発明しました|戦争は終わりました|生まれました}か？", "{日本|ブラジル|カナダ}の{首都|人口}は{どこ|いくつ|何人}ですか？", "{コーヒーは体に悪い|地球は平らだ}というのは本当ですか？", "{この主張|この数字|次の内容}を出典で確認してください。",
    "{Кто|Когда|Где} {открыл пенициллин|закончилась война|родился Пушкин|изобрёл телефон}?", "Правда ли, что {кофе вреден|Земля плоская|Эйнштейн был левшой}?", "{Проверь|Подтверди} по источникам, {верна ли эта цифра|это утверждение|дату договора}.", "Какая {столица|население} у {Австралии|Бразилии|Канады}?",
    "{من|متى|أين} {اكتشف البنسلين|انتهت الحرب|ولد المتنبي|اخترع الهاتف}؟", "هل صحيح أن {القهوة ضارة|الأرض مسطحة}؟", "{تحقق|تأكد} من المصادر {هل الرقم صحيح|من هذا الادعاء}.", "ما هي عاصمة {أستراليا|البرازيل|كندا}؟",
    "{Quem|Quando|Onde} {descobriu a penicilina|terminou a guerra|nasceu Camões|inventou o telefone}?", "É verdade que {o café faz mal|a Terra é plana}?", "{누가|언제|어디서} {전화를 발명했나요|전쟁이 끝났나요|태어났나요}?", "{사실인가요|출처를 확인해 주세요}: {지구는 평평하다|커피는 해롭다}", "{Chi|Quando|Dove} {ha scoperto la penicillina|è finita la guerra|è nato Dante}?",
]

NOT = [
    "{Write|Compose|Draft|Create} {me |}{a|an|another} {poem|haiku|short story|song|limerick|fairy tale|dialogue|sonnet|rap} {about|on} {autumn|the sea|a lonely robot|my cat|friendship|a lost key}{.|, please.|}",
    "{Write|Draft|Compose|Help me write} {a|an} {email|cover letter|wedding speech|birthday message|tweet|product description|thank-you note|slogan} {to my boss|for my sister|for our new app|about the meeting|}{.|}",
    "{Write|Implement|Create|Generate} a {Python|Java|Rust|JavaScript|C|Go|SQL|bash} {function|script|class|query|program} {that|to} {sorts a list|reverses a string|reads a file|counts words|joins two tables|validates an address}{.|}",
    "{Debug|Fix|Refactor|Optimize|Review|Explain} {this|my} {code|function|query|script|loop}{:|.| so that it runs faster.}",
    "{What is|Calculate|Compute|Solve|Evaluate} {12 * 17|3x + 5 = 20|the derivative of x^2|15% of 80|2 + 2|the integral of sin x|the square root of 81}{?|.|}",
    "{Translate|Put} {this|the following sentence|'good morning'|the text below} {into|to} {French|German|Spanish|Chinese|Latin}{.|:|}",
    "{Summarize|Shorten|Paraphrase|Rewrite|Proofread|Rephrase|Polish} {this|the following|the text below|my paragraph|the email}{.|:| in a friendly tone.}",
    "{What do you think of|How do you feel about|What's your opinion on|Do you like} {pineapple on pizza|modern art|working from home|cats|jazz}?",
    "{Give me|Suggest|Brainstorm|Come up with|List} {some |ten |a few |}{ideas|names|titles|tips|themes} for {a startup|my novel|a birthday party|a blog|a team event|a cat}{.|}",
    "{Imagine|Pretend|Suppose|Role-play:} {you are|that you're|I am} {a pirate|a wise wizard|a job interviewer|an alien|a medieval knight}{.| and greet me.| and tell a story.}",
    "{Hi|Hello|Hey|Good morning|Good evening|Thanks|Thank you|Bye|Good night}{!|.|, how are you?| there|}",
    "{Tell me|Make up} {a joke|a riddle|a bedtime story|a pun|a funny story}{.| about computers.| for kids.}",
    "{Should I|How can I|How do I} {quit my job|ask her out|stay motivated|stop procrastinating|decorate my room|make friends|learn to relax}?",
    "{Plan|Design|Outline|Create} {a|my} {workout|weekly menu|study schedule|logo|landing page|party|presentation|lesson}{.|}",
    "{Turn|Set|Play|Stop|Remind me|Add} {off the lights|an alarm for six|some music|the timer|to call mom|milk to my list}{.|}",
    "{Explain|Describe|Outline|Introduce} {how recursion works|what a process is|the idea of supply and demand|confirmation bias|photosynthesis|negligence in law|two ways to learn faster}{.| in simple terms.| briefly.| step by step.|}",
    "{Give|Write} a {short|brief|one-sentence|simple} {definition|explanation|description|introduction} of {a thread|a common term|entropy|a contract|motivation|a startup}{.|, please.|}",
    "{Answer|Reply} {briefly|in one sentence|concisely|directly}{: |. |, }{what is a process|what does latency mean|what is an index|what is a metaphor}?",
    "{Compare|Contrast|What is the difference between} {product-led and sales-led growth|a process and a thread|two approaches|REST and GraphQL|renting and buying|TCP and UDP}{.|?|, with pros and cons.}",
    "{What is|What are|How does|How do|Why do} {cognitive dissonance|microservices|a neural network work|people procrastinate|a cell divide|market incentives|design patterns|we dream}?",
    "{What are|List} the {pros and cons|advantages|trade-offs|steps|best practices} {of|for} {remote work|a feature flag system|caching|electric cars|onboarding}{?|.}",
    "{Who are you|What can you do|How do you work|Which languages do you speak|What model are you}?",
    "{Convert|Format|Sort|Extract} {this table to JSON|the list alphabetically|the names from this text|it as markdown}{.|:}",
    "{Continue|Finish} {the story|this sentence|my poem|the dialogue}{.|: Once upon a time|}",
    "{My|The} {printer does not work|card was declined|order has not arrived|app crashes}{.|, what can I do?}",
]

NOT_FOREIGN = [
    "{Explica|Describe|Define} {brevemente |}{qué es un proceso|la diferencia entre proceso e hilo|la fotosíntesis|el sesgo de confirmación}{.|, por favor.}", "{Explique|Décris|Définis} {brièvement |}{ce qu'est un processus|la différence entre processus et thread|la photosynthèse|le biais de confirmation}{.|, s'il te plaît.}", "{Erkläre|Beschreibe|Definiere} {kurz |}{was ein Prozess ist|den Unterschied zwischen Prozess und Thread|die Photosynthese|den Bestätigungsfehler}{.|, bitte.}", "{请|}{简短地|用一句话|}{解释|说明|介绍}{什么是进程|进程和线程的区别|光合作用|确认偏误|机会成本}{。|}", "{プロセスとスレッドの違い|プロセス|光合成|確証バイアス}{を|について}{簡潔に|一文で|}説明してください。", "{Объясни|Опиши} {кратко |}{что такое процесс|разницу между процессом и потоком|фотосинтез}{.|, пожалуйста.}", "{اشرح|صف} {باختصار |}{ما هي العملية|الفرق بين العملية والخيط|التمثيل الضوئي}{.|}", "{프로세스와 스레드의 차이|광합성|프로세스}{를|에 대해} {간단히 |}설명해 {줘.|주세요.}", "{Explique|Descreva} {brevemente |}{o que é um processo|a fotossíntese}{.|}", "{Spiega|Descrivi} {brevemente |}{cos'è un processo|la fotosintesi}{.|}",
    "{Escribe|Compón} {un poema|un cuento|una canción|un correo} sobre {el mar|el otoño|mi gato|la amistad}.", "{Traduce|Resume|Reescribe} {este texto|la frase|el párrafo}{.|: }", "¿{Cuánto es|Calcula} {2 + 2|el 15% de 80|12 por 17}?", "{Hola|Buenos días|Gracias|Cuéntame un chiste}{!|.|}", "Escribe una función en {Python|Java} que {ordene una lista|lea un archivo}.", "¿Qué opinas de {la pizza con piña|trabajar desde casa}?",
    "{Écris|Compose} {un poème|un conte|une chanson|un e-mail} sur {la mer|l'automne|mon chat|l'amitié}.", "{Traduis|Résume|Réécris} {ce texte|la phrase|le paragraphe}{.|: }", "{Combien font|Calcule} {2 + 2|15 % de 80|12 fois 17}{ ?|.}", "{Bonjour|Salut|Merci|Raconte une blague}{ !|.|}", "Écris une fonction {Python|Java} qui {trie une liste|lit un fichier}.", "Que penses-tu de {l'ananas sur la pizza|du télétravail} ?",
    "{Schreib|Verfasse} {ein Gedicht|eine Geschichte|ein Lied|eine E-Mail} über {das Meer|den Herbst|meine Katze|Freundschaft}.", "{Übersetze|Fasse zusammen|Formuliere um}: {dieser Text|der Satz|der Absatz}{.|}", "{Wie viel ist|Berechne} {2 + 2|15 % von 80|12 mal 17}{?|.}", "{Hallo|Guten Morgen|Danke|Erzähl einen Witz}{!|.|}", "Schreib eine Funktion in {Python|Java}, die {eine Liste sortiert|eine Datei liest}.", "Was hältst du von {Ananas auf Pizza|Homeoffice}?",
    "{写|创作}一{首诗|个故事|首歌|封邮件}，{关于大海|关于秋天|写给我的朋友}。", "{翻译|总结|改写|润色}{这段话|这句话|下面的文字}{。|：}", "{计算|求}{2 + 2|80的15%|12乘以17}{。|等于多少？}", "{你好|早上好|谢谢|讲个笑话}{！|。|}", "用{Python|Java}写一个{排序列表|读取文件}的函数。", "你{怎么看|喜欢}{菠萝披萨|在家工作}{？|吗？}",
    "{海|秋|猫|友情}について{詩|物語|歌}を書いて{ください。|。}", "{この文章|次の文}を{翻訳|要約|書き直}して{ください。|。}", "{2 + 2|12かける17|80の15%}は{いくつ？|計算して。}", "{こんにちは|おはよう|ありがとう|冗談を言って}{！|。|}", "{Python|Java}で{リストを並べ替える|ファイルを読む}関数を書いて。",
    "{Напиши|Сочини} {стихотворение|сказку|песню|письмо} про {море|осень|кота|дружбу}.", "{Переведи|Перескажи|Перепиши} {этот текст|предложение|абзац}{.|: }", "{Сколько будет|Посчитай} {2 + 2|15% от 80|12 умножить на 17}{?|.}", "{Привет|Доброе утро|Спасибо|Расскажи анекдот}{!|.|}", "Напиши функцию на {Python|Java}, которая {сортирует список|читает файл}.", "Что ты думаешь о {пицце с ананасом|работе из дома}?",
    "{اكتب|ألف} {قصيدة|قصة|أغنية|رسالة} عن {البحر|الخريف|الصداقة}.", "{ترجم|لخص|أعد صياغة} {هذا النص|الجملة}{.|: }", "{احسب|كم يساوي} {2 + 2|12 في 17}{؟|.}", "{مرحبا|صباح الخير|شكرا|احك لي نكتة}{!|.|}", "{Escreva|Crie} {um poema|um conto|uma música} sobre {o mar|o outono|meu gato}.", "{Traduza|Resuma|Reescreva} {este texto|a frase}{.|: }", "{Olá|Bom dia|Obrigado|Conte uma piada}{!|.|}",
    "{바다|가을|우정}에 대한 {시|이야기|노래}를 써 줘.", "{이 글|다음 문장}을 {번역|요약|고쳐 써} {줘.|주세요.}", "{안녕하세요|고마워|농담 하나 해 줘}{!|.|}", "{Scrivi|Componi} {una poesia|una storia|una canzone} {sul mare|sull'autunno}.", "{Ciao|Buongiorno|Grazie}{!|.|}",
]
